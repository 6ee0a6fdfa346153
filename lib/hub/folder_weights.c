/* A network's weights from the files of its folder. Each tensor finds its parameter and
 * its shape is checked before memory is taken; then all are loaded at once. Where the
 * context maps weights, a matrix that a file holds as the network does stays in the file
 * (fp32, not turned, all of its rows end to end), the others are read beside it. */
#include "hub/folder_internal.h"

#include <inttypes.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/size.h"
#include "ckpt/safetensors.h"

#define PIECE ((int64_t)1 << 18) /* floats of a tied head at once */

typedef struct weights {
    rlhf_context *context;
    rlhf__transformer *net;
    rlhf__hub_family family;
    const char *path;
    rlhf__tensor_file *const *files;
    int64_t num_files;
    rlhf__tensor_load *loads;     /* [num_loads], in the order of the files */
    rlhf__tensor_load **of_named; /* [num_named], into them; NULL: no tensor yet */
    int64_t num_loads;
    float **in_place;     /* [num_slabs] where weights are mapped */
    rlhf__file_map *maps; /* [num_files] */
} weights;

static const char *strip_prefix(const char *name)
{
    if (strncmp(name, "transformer.", 12) == 0)
        return name + 12;
    return strncmp(name, "model.", 6) == 0 ? name + 6 : name;
}

void rlhf__hub_tensor_of(const rlhf__params *params, const rlhf__named *named,
                         rlhf__hub_family family, rlhf__hub_tensor *out)
{
    const rlhf__slab *slab = &params->slabs[named->slab];
    const char *name = named->name;
    const bool conv = rlhf__ends_with(name, "c_attn.weight") ||
                      rlhf__ends_with(name, "c_proj.weight") ||
                      rlhf__ends_with(name, "c_fc.weight");
    const bool vector =
        rlhf__ends_with(name, ".bias") || rlhf__ends_with(name, "norm.weight") ||
        rlhf__ends_with(name, "ln_1.weight") || rlhf__ends_with(name, "ln_2.weight") ||
        rlhf__ends_with(name, "ln_f.weight");

    out->rows = named->rows;
    out->cols = slab->cols;
    out->values = slab->values ? rlhf__named_values(params, named) : NULL;
    out->transposed = family == RLHF__HUB_GPT2 && conv;
    out->rank = vector ? 1 : 2;
    out->shape[0] = vector ? named->rows * slab->cols : named->rows;
    out->shape[1] = slab->cols;
    if (out->transposed) {
        out->shape[0] = slab->cols;
        out->shape[1] = named->rows;
    }
}

/* --- which tensor is what ----------------------------------------------------------- */

static rlhf_status check_shape(const rlhf__tensor_file *file,
                               const rlhf__tensor_entry *entry,
                               const rlhf__hub_tensor *tensor)
{
    char got[128], expected[128];

    if (entry->rank == tensor->rank && entry->shape[0] == tensor->shape[0] &&
        (tensor->rank == 1 || entry->shape[1] == tensor->shape[1]))
        return RLHF_OK;
    rlhf__tensor_shape_text(entry->shape, entry->rank, got);
    rlhf__tensor_shape_text(tensor->shape, tensor->rank, expected);
    return rlhf__fail_at(RLHF_ERR_FORMAT, rlhf__tensor_file_path(file), 0, 0, entry->name,
                         "tensor \"%s\" has shape %s where config.json asks for %s",
                         entry->name, got, expected);
}

/* Buffers that old files carry, and that no file needs. */
static bool is_buffer(const char *name)
{
    return rlhf__ends_with(name, ".attn.bias") ||
           rlhf__ends_with(name, ".attn.masked_bias") ||
           rlhf__ends_with(name, "rotary_emb.inv_freq");
}

static const rlhf__named *find_named(const rlhf__params *params, const char *name)
{
    const char *stripped = strip_prefix(name);

    for (int32_t i = 0; i < params->num_named; i++) {
        if (strcmp(strip_prefix(params->named[i].name), stripped) == 0)
            return &params->named[i];
    }
    return NULL;
}

/* Of a score head the file has the weight only: its bias is in the offset. */
static bool is_score_bias(const weights *w, const rlhf__named *named)
{
    return w->net->score_bias >= 0 && named->slab == w->net->score_bias;
}

/* Says where the tensor goes; one that no network has is refused. */
static rlhf_status place_tensor(weights *w, rlhf__tensor_file *file,
                                const rlhf__tensor_entry *entry)
{
    rlhf__params *params = &w->net->params;
    rlhf__hub_tensor tensor;

    if (is_buffer(entry->name))
        return RLHF_OK;
    const rlhf__named *named = find_named(params, entry->name);
    if (!named || is_score_bias(w, named))
        return rlhf__fail_at(RLHF_ERR_FORMAT, rlhf__tensor_file_path(file), 0, 0,
                             entry->name,
                             "tensor \"%s\" is not part of the model that config.json "
                             "describes",
                             entry->name);
    if (w->of_named[named - params->named])
        return rlhf__fail_at(RLHF_ERR_FORMAT, rlhf__tensor_file_path(file), 0, 0,
                             entry->name, "tensor \"%s\" comes twice", entry->name);
    rlhf__hub_tensor_of(params, named, w->family, &tensor);
    RLHF__TRY(check_shape(file, entry, &tensor));
    rlhf__tensor_load *load = &w->loads[w->num_loads++];
    *load = (rlhf__tensor_load){.file = file,
                                .entry = entry,
                                .rows = tensor.rows,
                                .cols = tensor.cols,
                                .transposed = tensor.transposed};
    w->of_named[named - params->named] = load;
    return RLHF_OK;
}

/* With tied embeddings the head is the token table; a file that has both must agree. */
static rlhf_status check_tied_head(const weights *w, rlhf__tensor_file *file,
                                   const rlhf__tensor_entry *entry)
{
    const rlhf__slab *slab = &w->net->params.slabs[w->net->token_table];
    const float *table = rlhf__slab_values(&w->net->params, w->net->token_table);
    rlhf__hub_tensor tensor = {.rank = 2, .shape = {slab->rows, slab->cols}};
    const int64_t step = rlhf__max_i64(1, PIECE / slab->cols) * slab->cols;
    float *piece = NULL;
    rlhf_status status = RLHF_OK;

    RLHF__TRY(check_shape(file, entry, &tensor));
    RLHF__TRY(
        rlhf__alloc_raw(w->context, step, sizeof *piece, RLHF_MEMORY_GENERAL, &piece));
    for (int64_t first = 0; first < entry->count && status == RLHF_OK; first += step) {
        int64_t now = rlhf__min_i64(step, entry->count - first);
        status = rlhf__tensor_file_read_f32(file, entry, first, now, piece);
        if (status == RLHF_OK &&
            memcmp(piece, table + first, (size_t)now * sizeof *table) != 0)
            status = rlhf__fail_at(
                RLHF_ERR_FORMAT, rlhf__tensor_file_path(file), 0, 0, entry->name,
                "\"tie_word_embeddings\" is true, but tensor \"%s\" differs "
                "from the token table",
                entry->name);
    }
    rlhf__free(piece);
    return status;
}

static bool is_tied_head(const weights *w, const rlhf__tensor_entry *entry)
{
    return w->net->head_weight == w->net->token_table &&
           strcmp(entry->name, "lm_head.weight") == 0;
}

static rlhf_status check_tied_heads(const weights *w)
{
    for (int64_t i = 0; i < w->num_files; i++) {
        rlhf__tensor_file *file = w->files[i];
        const rlhf__tensor_entry *entry = rlhf__tensor_file_find(file, "lm_head.weight");
        if (entry && is_tied_head(w, entry))
            RLHF__TRY(check_tied_head(w, file, entry));
    }
    return RLHF_OK;
}

static rlhf_status place_tensors(weights *w)
{
    for (int64_t i = 0; i < w->num_files; i++) {
        rlhf__tensor_file *file = w->files[i];
        for (int64_t j = 0; j < rlhf__tensor_file_count(file); j++) {
            const rlhf__tensor_entry *entry = rlhf__tensor_file_at(file, j);
            if (!is_tied_head(w, entry))
                RLHF__TRY(place_tensor(w, file, entry));
        }
    }
    return RLHF_OK;
}

static rlhf_status check_filled(const weights *w)
{
    const rlhf__params *params = &w->net->params;

    for (int32_t i = 0; i < params->num_named; i++) {
        if (!w->of_named[i] && !is_score_bias(w, &params->named[i]))
            return rlhf__fail_at(RLHF_ERR_FORMAT, w->path, 0, 0, params->named[i].name,
                                 "tensor \"%s\" is missing", params->named[i].name);
    }
    return RLHF_OK;
}

/* --- their memory ------------------------------------------------------------------- */

/* Where a mapped file has the slab as the network has it; NULL if none does. */
static float *find_in_file(const weights *w, int32_t slab)
{
    const rlhf__params *params = &w->net->params;
    const rlhf__tensor_load *first = NULL;
    int64_t rows = 0, end = 0;

    for (int32_t i = 0; i < params->num_named; i++) {
        const rlhf__named *named = &params->named[i];
        const rlhf__tensor_load *load = w->of_named[i];
        if (named->slab != slab)
            continue;
        if (!load || load->transposed || load->entry->dtype != RLHF__DTYPE_F32)
            return NULL;
        if (!first)
            first = load;
        else if (load->file != first->file || load->entry->begin != end)
            return NULL;
        rows += named->rows;
        end = load->entry->end;
    }
    if (rows != params->slabs[slab].rows)
        return NULL;
    float *values = rlhf__tensor_file_mapped(first->file, first->entry);
    return (uintptr_t)values % sizeof *values == 0 ? values : NULL;
}

/* Maps the files and lets slabs stand in them. */
static rlhf_status map_weights(weights *w)
{
    rlhf__params *params = &w->net->params;

    RLHF__TRY(rlhf__alloc(w->context, params->num_slabs, sizeof *w->in_place,
                          RLHF_MEMORY_GENERAL, &w->in_place));
    RLHF__TRY(rlhf__alloc(w->context, w->num_files, sizeof *w->maps, RLHF_MEMORY_GENERAL,
                          &w->maps));
    for (int64_t i = 0; i < w->num_files; i++)
        RLHF__TRY(rlhf__tensor_file_map(w->files[i]));
    for (int32_t i = 0; i < params->num_slabs; i++)
        w->in_place[i] = find_in_file(w, i);
    for (int64_t i = 0; i < w->num_files; i++)
        w->maps[i] = rlhf__tensor_file_take_map(w->files[i]);
    const rlhf_status status =
        rlhf__params_map(params, w->in_place, w->maps, w->num_files);
    for (int64_t i = 0; status != RLHF_OK && i < w->num_files; i++)
        rlhf__file_map_close(&w->maps[i]);
    return status;
}

/* The one parameter that no file has. */
static void clear_score_bias(const weights *w)
{
    if (w->net->score_bias >= 0)
        *rlhf__slab_values(&w->net->params, w->net->score_bias) = 0.0f;
}

static rlhf_status load_all(weights *w)
{
    const rlhf__params *params = &w->net->params;

    for (int32_t i = 0; i < params->num_named; i++) {
        const rlhf__named *named = &params->named[i];
        if (!w->of_named[i])
            continue;
        w->of_named[i]->values = rlhf__named_values(params, named);
        w->of_named[i]->is_there = w->in_place && w->in_place[named->slab];
    }
    return rlhf__tensors_load(w->context, w->loads, w->num_loads);
}

static rlhf_status read_weights(weights *w)
{
    rlhf__params *params = &w->net->params;

    RLHF__TRY(rlhf__alloc(w->context, params->num_named, sizeof *w->loads,
                          RLHF_MEMORY_GENERAL, &w->loads));
    RLHF__TRY(rlhf__alloc(w->context, params->num_named, sizeof *w->of_named,
                          RLHF_MEMORY_GENERAL, &w->of_named));
    RLHF__TRY(place_tensors(w));
    RLHF__TRY(check_filled(w));
    RLHF__TRY(w->context->map_weights ? map_weights(w)
                                      : rlhf__params_allocate_unset(params));
    clear_score_bias(w);
    RLHF__TRY(load_all(w));
    rlhf__params_end_write(params);
    return check_tied_heads(w);
}

rlhf_status rlhf__hub_read_weights(rlhf__transformer *net, rlhf__hub_family family,
                                   const char *path, rlhf__tensor_file *const *files,
                                   int64_t num_files)
{
    weights w = {.context = net->context,
                 .net = net,
                 .family = family,
                 .path = path,
                 .files = files,
                 .num_files = num_files};
    const rlhf_status status = read_weights(&w);

    rlhf__free(w.loads);
    rlhf__free((void *)w.of_named);
    rlhf__free((void *)w.in_place);
    rlhf__free(w.maps);
    return status;
}
