/* Reading a model folder. The config is checked against the files' headers before memory
 * for the network is asked for, so that a hostile config cannot ask for terabytes. */
#include "hub/folder.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/file.h"
#include "base/json.h"
#include "base/size.h"
#include "ckpt/safetensors.h"
#include "hub/folder_internal.h"

#define MAX_CONFIG ((int64_t)16 << 20)
#define MAX_INDEX  ((int64_t)64 << 20)
#define MAX_SHARDS 1024
#define PIECE      ((int64_t)1 << 18) /* floats of a tied head at once */

typedef struct loader {
    rlhf_context *context;
    const char *path;
    rlhf__json *config_json;
    rlhf__hub_config config;
    rlhf__json *index; /* NULL: one file */
    rlhf__tensor_file **files;
    int64_t num_files, capacity;
    rlhf__transformer *net;
    bool *filled; /* [num_named] */
    rlhf__tensor_load *loads;
    int64_t num_loads, loads_capacity;
} loader;

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);

    return length >= tail && strcmp(text + length - tail, end) == 0;
}

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
    bool conv = ends_with(name, "c_attn.weight") || ends_with(name, "c_proj.weight") ||
                ends_with(name, "c_fc.weight");
    bool vector = ends_with(name, ".bias") || ends_with(name, "norm.weight") ||
                  ends_with(name, "ln_1.weight") || ends_with(name, "ln_2.weight") ||
                  ends_with(name, "ln_f.weight");

    out->rows = named->rows;
    out->cols = slab->cols;
    out->values = params->values + slab->offset + named->first_row * slab->cols;
    out->transposed = family == RLHF__HUB_GPT2 && conv;
    out->rank = vector ? 1 : 2;
    out->shape[0] = vector ? named->rows * slab->cols : named->rows;
    out->shape[1] = slab->cols;
    if (out->transposed) {
        out->shape[0] = slab->cols;
        out->shape[1] = named->rows;
    }
}

/* --- files -------------------------------------------------------------------------- */

static rlhf_status open_file(loader *load, const char *name)
{
    char *path = NULL;
    rlhf_status status;

    if (load->num_files >= MAX_SHARDS)
        return rlhf__fail_at(RLHF_ERR_LIMIT, load->path, 0, 0, "weight_map",
                             "more than %d files of weights", MAX_SHARDS);
    RLHF__TRY(rlhf__grow(load->context, &load->files, &load->capacity,
                         load->num_files + 1, sizeof *load->files));
    RLHF__TRY(rlhf__path_join(load->context, load->path, name, &path));
    status = rlhf__tensor_file_open(load->context, path, &load->files[load->num_files]);
    if (status == RLHF_OK)
        load->num_files++;
    rlhf__free(path);
    return status;
}

static const char *file_name(const rlhf__tensor_file *file)
{
    const char *path = rlhf__tensor_file_path(file);
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* One entry of the index's weight_map: opens its file if it is new, and finds it there.
 */
static rlhf_status open_mapped(void *arg, const char *key, rlhf__json *value)
{
    loader *load = arg;
    const char *name = rlhf__json_string(value, "");
    int64_t i = 0;

    if (!ends_with(name, ".safetensors") || strchr(name, '/'))
        return rlhf__fail_at(RLHF_ERR_FORMAT, load->path, 0, 0, key,
                             RLHF__HUB_INDEX
                             ": tensor \"%s\" is mapped to \"%.64s\", which "
                             "is no safetensors file of the folder",
                             key, name);
    while (i < load->num_files && strcmp(file_name(load->files[i]), name) != 0)
        i++;
    if (i == load->num_files)
        RLHF__TRY(open_file(load, name));
    if (!rlhf__tensor_file_find(load->files[i], key))
        return rlhf__fail_at(RLHF_ERR_FORMAT, rlhf__tensor_file_path(load->files[i]), 0,
                             0, key, "tensor \"%s\" is not there, as the index says",
                             key);
    return RLHF_OK;
}

static rlhf_status open_files(loader *load)
{
    char *single = NULL, *index = NULL;
    rlhf_status status =
        rlhf__path_join(load->context, load->path, RLHF__HUB_WEIGHTS, &single);

    if (status == RLHF_OK)
        status = rlhf__path_join(load->context, load->path, RLHF__HUB_INDEX, &index);
    if (status != RLHF_OK)
        goto cleanup;
    if (rlhf__path_exists(single)) {
        status = open_file(load, RLHF__HUB_WEIGHTS);
    } else if (rlhf__path_exists(index)) {
        const rlhf__json *map;
        status = rlhf__json_load(load->context, index, MAX_INDEX, &load->index);
        if (status != RLHF_OK)
            goto cleanup;
        map = rlhf__json_get(load->index, "weight_map");
        if (!rlhf__json_is_object(map))
            status = rlhf__fail_at(RLHF_ERR_FORMAT, index, 0, 0, "weight_map",
                                   "\"weight_map\" is missing or not an object");
        else
            status = rlhf__json_each(map, open_mapped, load);
    } else {
        status = rlhf__fail_at(RLHF_ERR_NOT_FOUND, load->path, 0, 0, NULL,
                               "the folder has neither " RLHF__HUB_WEIGHTS
                               " nor " RLHF__HUB_INDEX);
    }
cleanup:
    rlhf__free(single);
    rlhf__free(index);
    return status;
}

/* Fewer parameters than any model of this config has: its matrices, in floating point
 * since the product of the fields' bounds exceeds 64 bits. */
static rlhf_status check_size(const loader *load)
{
    const rlhf_model_config *m = &load->config.model;
    double width = m->hidden_size, heads = (double)m->num_heads * m->head_dim;
    double layer = width * (2 * heads + 2 * (double)m->num_kv_heads * m->head_dim) +
                   2 * width * m->intermediate_size;
    double least = width * m->vocab_size + layer * m->num_layers;
    double held = 0;

    for (int64_t i = 0; i < load->num_files; i++) {
        for (int64_t j = 0; j < rlhf__tensor_file_count(load->files[i]); j++)
            held += (double)rlhf__tensor_file_at(load->files[i], j)->count;
    }
    if (least > held)
        return rlhf__fail_at(
            RLHF_ERR_FORMAT, load->path, 0, 0, NULL,
            "config.json describes at least %.0f parameters, the tensors "
            "hold %.0f",
            least, held);
    return RLHF_OK;
}

/* --- tensors ------------------------------------------------------------------------ */

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
    return ends_with(name, ".attn.bias") || ends_with(name, ".attn.masked_bias") ||
           ends_with(name, "rotary_emb.inv_freq");
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
static bool is_score_bias(const loader *load, const rlhf__named *named)
{
    return load->net->score_bias >= 0 && named->slab == load->net->score_bias;
}

/* Says where the tensor goes; one that no network has is refused. */
static rlhf_status place_tensor(loader *load, rlhf__tensor_file *file,
                                const rlhf__tensor_entry *entry)
{
    rlhf__params *params = &load->net->params;
    const rlhf__named *named = find_named(params, entry->name);
    rlhf__hub_tensor tensor;

    if (is_buffer(entry->name))
        return RLHF_OK;
    if (!named || is_score_bias(load, named))
        return rlhf__fail_at(RLHF_ERR_FORMAT, rlhf__tensor_file_path(file), 0, 0,
                             entry->name,
                             "tensor \"%s\" is not part of the model that config.json "
                             "describes",
                             entry->name);
    if (load->filled[named - params->named])
        return rlhf__fail_at(RLHF_ERR_FORMAT, rlhf__tensor_file_path(file), 0, 0,
                             entry->name, "tensor \"%s\" comes twice", entry->name);
    rlhf__hub_tensor_of(params, named, load->config.family, &tensor);
    RLHF__TRY(check_shape(file, entry, &tensor));
    load->filled[named - params->named] = true;
    RLHF__TRY(rlhf__grow(load->context, &load->loads, &load->loads_capacity,
                         load->num_loads + 1, sizeof *load->loads));
    load->loads[load->num_loads++] = (rlhf__tensor_load){.file = file,
                                                         .entry = entry,
                                                         .values = tensor.values,
                                                         .rows = tensor.rows,
                                                         .cols = tensor.cols,
                                                         .transposed = tensor.transposed};
    return RLHF_OK;
}

/* With tied embeddings the head is the token table; a file that has both must agree. */
static rlhf_status check_tied_head(const loader *load, rlhf__tensor_file *file,
                                   const rlhf__tensor_entry *entry)
{
    const rlhf__slab *slab = &load->net->params.slabs[load->net->token_table];
    const float *table = rlhf__slab_values(&load->net->params, load->net->token_table);
    rlhf__hub_tensor tensor = {.rank = 2, .shape = {slab->rows, slab->cols}};
    const int64_t step = rlhf__max_i64(1, PIECE / slab->cols) * slab->cols;
    float *piece = NULL;
    rlhf_status status = RLHF_OK;

    RLHF__TRY(check_shape(file, entry, &tensor));
    RLHF__TRY(
        rlhf__alloc_raw(load->context, step, sizeof *piece, RLHF_MEMORY_GENERAL, &piece));
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

static bool is_tied_head(const loader *load, const rlhf__tensor_entry *entry)
{
    return load->net->head_weight == load->net->token_table &&
           strcmp(entry->name, "lm_head.weight") == 0;
}

static rlhf_status check_tied_heads(const loader *load)
{
    for (int64_t i = 0; i < load->num_files; i++) {
        rlhf__tensor_file *file = load->files[i];
        const rlhf__tensor_entry *entry = rlhf__tensor_file_find(file, "lm_head.weight");
        if (entry && is_tied_head(load, entry))
            RLHF__TRY(check_tied_head(load, file, entry));
    }
    return RLHF_OK;
}

static rlhf_status place_tensors(loader *load)
{
    for (int64_t i = 0; i < load->num_files; i++) {
        rlhf__tensor_file *file = load->files[i];
        for (int64_t j = 0; j < rlhf__tensor_file_count(file); j++) {
            const rlhf__tensor_entry *entry = rlhf__tensor_file_at(file, j);
            if (!is_tied_head(load, entry))
                RLHF__TRY(place_tensor(load, file, entry));
        }
    }
    return RLHF_OK;
}

static rlhf_status check_filled(const loader *load)
{
    const rlhf__params *params = &load->net->params;

    for (int32_t i = 0; i < params->num_named; i++) {
        if (!load->filled[i] && !is_score_bias(load, &params->named[i]))
            return rlhf__fail_at(RLHF_ERR_FORMAT, load->path, 0, 0, params->named[i].name,
                                 "tensor \"%s\" is missing", params->named[i].name);
    }
    return RLHF_OK;
}

/* --- entry point -------------------------------------------------------------------- */

static rlhf_status read_config(loader *load, bool reward)
{
    char *path = NULL;
    rlhf_status status =
        rlhf__path_join(load->context, load->path, RLHF__HUB_CONFIG, &path);

    if (status == RLHF_OK)
        status = rlhf__json_load(load->context, path, MAX_CONFIG, &load->config_json);
    if (status == RLHF_OK)
        status = rlhf__hub_config_read(load->context, load->config_json, path, reward,
                                       &load->config);
    rlhf__free(path);
    return status;
}

/* The one parameter that no file has. */
static void clear_score_bias(const loader *load)
{
    if (load->net->score_bias >= 0)
        *rlhf__slab_values(&load->net->params, load->net->score_bias) = 0.0f;
}

static rlhf_status load_net(loader *load, rlhf__head head)
{
    rlhf_context *context = load->context;
    rlhf_status status;

    RLHF__TRY(read_config(load, head == RLHF__HEAD_SCORE));
    RLHF__TRY(open_files(load));
    RLHF__TRY(check_size(load));
    RLHF__TRY(
        rlhf__transformer_create_unset(context, &load->config.model, head, &load->net));
    RLHF__TRY(rlhf__alloc(context, load->net->params.num_named, sizeof *load->filled,
                          RLHF_MEMORY_GENERAL, &load->filled));
    RLHF__TRY(place_tensors(load));
    RLHF__TRY(check_filled(load));
    rlhf__params_begin_write(&load->net->params);
    clear_score_bias(load);
    status = rlhf__tensors_load(context, load->loads, load->num_loads);
    rlhf__params_end_write(&load->net->params);
    return status == RLHF_OK ? check_tied_heads(load) : status;
}

/* The config document goes over into the origin. */
static rlhf_status make_origin(loader *load, rlhf__hub_origin **out_origin)
{
    rlhf__hub_origin *origin = NULL;

    RLHF__TRY(
        rlhf__alloc(load->context, 1, sizeof *origin, RLHF_MEMORY_GENERAL, &origin));
    origin->context = rlhf__context_ref(load->context);
    origin->document = load->config_json;
    load->config_json = NULL;
    *out_origin = origin;
    return RLHF_OK;
}

rlhf_status rlhf__hub_load(rlhf_context *context, const char *path, rlhf__head head,
                           rlhf__transformer **out_net, rlhf__hub_score *out_score,
                           rlhf__hub_origin **out_origin)
{
    loader load = {.context = context, .path = path};
    rlhf_status status;

    *out_net = NULL;
    *out_origin = NULL;
    status = load_net(&load, head);
    if (status == RLHF_OK)
        status = make_origin(&load, out_origin);
    if (status == RLHF_OK) {
        *out_net = load.net;
        load.net = NULL;
        if (out_score)
            *out_score = load.config.score;
    }
    for (int64_t i = 0; i < load.num_files; i++)
        rlhf__tensor_file_close(load.files[i]);
    rlhf__free(load.files);
    rlhf__free(load.filled);
    rlhf__free(load.loads);
    rlhf__transformer_free(load.net);
    rlhf__json_free(load.index);
    rlhf__json_free(load.config_json);
    rlhf__hub_config_clear(&load.config);
    return status;
}
