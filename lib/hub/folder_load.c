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

typedef struct loader {
    rlhf_context *context;
    const char *path;
    rlhf__json *config_json;
    rlhf__hub_config config;
    rlhf__json *index; /* NULL: one file */
    rlhf__tensor_file **files;
    int64_t num_files, capacity;
    rlhf__transformer *net;
} loader;

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

    if (!rlhf__ends_with(name, ".safetensors") || strchr(name, '/'))
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

/* --- entry point -------------------------------------------------------------------- */

/* Each field of a config.json was checked as it was read; how those of the own type fit
 * together is known to the network that is made of them. */
static rlhf_status create_net(loader *load, rlhf__head head)
{
    char *path = NULL;
    rlhf_status status = rlhf__transformer_create_bare(load->context, &load->config.model,
                                                       head, &load->net);

    if (status != RLHF_ERR_INVALID_ARG && status != RLHF_ERR_LIMIT)
        return status;
    if (status == RLHF_ERR_INVALID_ARG)
        status = RLHF_ERR_FORMAT;
    /* A path that cannot be joined is the failure that is told then. */
    const rlhf_status joined =
        rlhf__path_join(load->context, load->path, RLHF__HUB_CONFIG, &path);
    status = joined == RLHF_OK ? rlhf__fail_in_file(status, path) : joined;
    rlhf__free(path);
    return status;
}

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

static rlhf_status load_net(loader *load, rlhf__head head)
{
    RLHF__TRY(read_config(load, head == RLHF__HEAD_SCORE));
    RLHF__TRY(open_files(load));
    RLHF__TRY(check_size(load));
    RLHF__TRY(create_net(load, head));
    RLHF__TRY(rlhf__hub_read_weights(load->net, load->config.family, load->path,
                                     load->files, load->num_files));
    return rlhf__transformer_make_rotary(load->net, true);
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
    rlhf__transformer_free(load.net);
    rlhf__json_free(load.index);
    rlhf__json_free(load.config_json);
    rlhf__hub_config_clear(&load.config);
    return status;
}
