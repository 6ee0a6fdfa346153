/* Writing a model folder: config.json and one model.safetensors, in the family's names
 * and layouts; the folder commits as one. */
#include "hub/folder.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/file.h"
#include "base/json.h"
#include "base/number.h"
#include "base/size.h"
#include "ckpt/safetensors.h"
#include "hub/folder_internal.h"

#define PIECE ((int64_t)1 << 18) /* floats put in order at once */

typedef struct saver {
    rlhf_context *context;
    const rlhf__transformer *net;
    const rlhf__hub_score *score;
    rlhf__hub_family family;
    rlhf__tensor_spec *specs;
    int32_t *named; /* [num_specs] index of each tensor's parameter */
    int64_t num_specs;
    float *scratch;
    int64_t scratch_size;
} saver;

/* The folder's other files are kept, but not the weights of the model that was there:
 * a reader would find two models. */
static bool is_old_weights(const char *name)
{
    static const char *const patterns[] = {
        RLHF__HUB_INDEX,     "model-*-of-*.safetensors",     "pytorch_model-*-of-*.bin",
        "pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5",
        "flax_model.msgpack"};

    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        if (fnmatch(patterns[i], name, 0) == 0)
            return true;
    }
    return false;
}

/* --- tensors ------------------------------------------------------------------------ */

/* A tied head is the token table and is not written again; a score's bias is in the
 * offset. */
static bool is_written(const rlhf__transformer *net, const rlhf__named *named)
{
    if (net->score_bias >= 0 && named->slab == net->score_bias)
        return false;
    return net->head_weight != net->token_table ||
           strcmp(named->name, "lm_head.weight") != 0;
}

static rlhf_status list_tensors(saver *save)
{
    const rlhf__params *params = &save->net->params;

    RLHF__TRY(rlhf__alloc(save->context, params->num_named, sizeof *save->specs,
                          RLHF_MEMORY_GENERAL, &save->specs));
    RLHF__TRY(rlhf__alloc(save->context, params->num_named, sizeof *save->named,
                          RLHF_MEMORY_GENERAL, &save->named));
    save->scratch_size = PIECE;
    for (int32_t i = 0; i < params->num_named; i++) {
        rlhf__tensor_spec *spec = &save->specs[save->num_specs];
        rlhf__hub_tensor tensor;
        if (!is_written(save->net, &params->named[i]))
            continue;
        rlhf__hub_tensor_of(params, &params->named[i], save->family, &tensor);
        spec->name = params->named[i].name;
        spec->dtype = RLHF__DTYPE_F32;
        spec->rank = tensor.rank;
        spec->shape[0] = tensor.shape[0];
        spec->shape[1] = tensor.rank == 2 ? tensor.shape[1] : 0;
        save->named[save->num_specs++] = i;
        save->scratch_size = rlhf__max_i64(save->scratch_size, tensor.rows);
        save->scratch_size = rlhf__max_i64(save->scratch_size, tensor.cols);
    }
    return rlhf__alloc_raw(save->context, save->scratch_size, sizeof *save->scratch,
                           RLHF_MEMORY_GENERAL, &save->scratch);
}

static rlhf_status write_transposed(const saver *save, rlhf__tensor_writer *file,
                                    const rlhf__hub_tensor *tensor)
{
    int64_t rows = tensor->rows, cols = tensor->cols;
    int64_t step = rlhf__max_i64(1, PIECE / rows);

    for (int64_t first = 0; first < cols; first += step) {
        int64_t now = rlhf__min_i64(step, cols - first);
        for (int64_t r = 0; r < rows; r++) {
            for (int64_t c = 0; c < now; c++)
                save->scratch[c * rows + r] = tensor->values[r * cols + first + c];
        }
        RLHF__TRY(rlhf__tensor_writer_write(file, save->scratch,
                                            now * rows * (int64_t)sizeof(float)));
    }
    return RLHF_OK;
}

static rlhf_status write_scaled(const saver *save, rlhf__tensor_writer *file,
                                const rlhf__hub_tensor *tensor)
{
    int64_t count = tensor->rows * tensor->cols;

    for (int64_t i = 0; i < count; i++) {
        const double scaled = save->score->scale * (double)tensor->values[i];
        if (!rlhf__is_finite_float(scaled))
            return rlhf__fail(RLHF_ERR_NUMERIC,
                              "scale %g times element %" PRId64
                              " of score.weight, %g, is not finite as a float",
                              save->score->scale, i, (double)tensor->values[i]);
        save->scratch[i] = (float)scaled;
    }
    return rlhf__tensor_writer_write(file, save->scratch, count * (int64_t)sizeof(float));
}

static rlhf_status write_tensor(const saver *save, rlhf__tensor_writer *file,
                                const rlhf__named *named)
{
    rlhf__hub_tensor tensor;

    rlhf__hub_tensor_of(&save->net->params, named, save->family, &tensor);
    if (tensor.transposed)
        return write_transposed(save, file, &tensor);
    if (save->score && named->slab == save->net->score_weight)
        return write_scaled(save, file, &tensor);
    return rlhf__tensor_writer_write(file, tensor.values,
                                     tensor.rows * tensor.cols * (int64_t)sizeof(float));
}

static rlhf_status write_weights(saver *save, rlhf__folder *folder)
{
    const rlhf__params *params = &save->net->params;
    rlhf__tensor_writer *file = NULL;
    rlhf_status status;

    RLHF__TRY(list_tensors(save));
    RLHF__TRY(rlhf__tensor_writer_create(folder, save->context, RLHF__HUB_WEIGHTS,
                                         save->specs, save->num_specs, false, &file));
    status = RLHF_OK;
    for (int64_t i = 0; i < save->num_specs && status == RLHF_OK; i++) {
        status = rlhf__progress(save->context, "save", i, save->num_specs);
        if (status == RLHF_OK)
            status = write_tensor(save, file, &params->named[save->named[i]]);
    }
    if (status != RLHF_OK) {
        rlhf__tensor_writer_abort(file);
        return status;
    }
    rlhf__progress_end(save->context, "save", save->num_specs);
    return rlhf__tensor_writer_close(file, NULL, NULL);
}

/* --- config ------------------------------------------------------------------------- */

static rlhf_status write_config(const saver *save, const rlhf__hub_origin *origin,
                                rlhf__folder *folder)
{
    const rlhf__transformer *net = save->net;
    rlhf__buffer text = {.context = save->context};
    rlhf__json *document = NULL;
    rlhf__hub_score score = {0};
    rlhf_status status;

    if (save->score) {
        score = *save->score;
        /* scale * (w h + b) + offset = (scale w) h + (scale b + offset) */
        if (net->score_bias >= 0)
            score.offset +=
                score.scale * (double)rlhf__slab_values(&net->params, net->score_bias)[0];
    }
    status = rlhf__hub_config_write(save->context, &net->config,
                                    save->score ? &score : NULL, origin, &document);
    if (status == RLHF_OK)
        status = rlhf__json_dump(document, 2, &text);
    if (status == RLHF_OK)
        status = rlhf__buffer_append(&text, "\n", 1);
    if (status == RLHF_OK)
        status = rlhf__folder_write(folder, RLHF__HUB_CONFIG, text.data, text.size);
    rlhf__json_free(document);
    rlhf__buffer_free(&text);
    return status;
}

static rlhf_status save_plain(const char *path, const rlhf__transformer *net,
                              const rlhf__hub_score *score,
                              const rlhf__hub_origin *origin)
{
    saver save = {.context = net->context,
                  .net = net,
                  .score = score,
                  .family = rlhf__hub_family_of(&net->config)};
    rlhf__folder *folder = NULL;
    rlhf_status status;

    RLHF__TRY(rlhf__folder_begin(net->context, path, true, &folder));
    rlhf__folder_set_drop(folder, is_old_weights);
    status = write_config(&save, origin, folder);
    if (status == RLHF_OK)
        status = write_weights(&save, folder);
    if (status == RLHF_OK)
        status = rlhf__folder_commit(folder);
    else
        rlhf__folder_abort(folder);
    rlhf__free(save.specs);
    rlhf__free(save.named);
    rlhf__free(save.scratch);
    return status;
}

/* A frozen model is written from a copy in fp32, of its rounded values. */
rlhf_status rlhf__hub_save(const char *path, const rlhf__transformer *net,
                           const rlhf__hub_score *score, const rlhf__hub_origin *origin)
{
    rlhf__transformer *copy = NULL;

    if (!net->params.is_frozen)
        return save_plain(path, net, score, origin);
    RLHF__TRY(rlhf__transformer_clone(net, &copy));
    const rlhf_status status = save_plain(path, copy, score, origin);
    rlhf__transformer_free(copy);
    return status;
}
