/* Files to datasets: JSONL, and plain text as one stream. */
#include <inttypes.h>
#include <string.h>

#include "data/load.h"

#include "base/context.h"
#include "base/file.h"

/* Between documents of a plain text, as GPT-2's and TinyStories' corpora have it. */
static const char SEPARATOR[] = "<|endoftext|>";
static const char BYTE_ORDER_MARK[] = "\xef\xbb\xbf";

static bool ends_with(const char *text, const char *ending)
{
    const size_t a = strlen(text), b = strlen(ending);
    return a >= b && strcmp(text + a - b, ending) == 0;
}

static rlhf_status load_jsonl(rlhf__loader *loader)
{
    rlhf__lines lines;
    bool more = true;
    rlhf_status status = rlhf__lines_open(loader->context, loader->path, &lines);

    while (status == RLHF_OK) {
        if (lines.done != lines.total) /* its size may be 0, or have grown */
            status = rlhf__progress(loader->context, "dataset", lines.done, lines.total);
        if (status == RLHF_OK)
            status = rlhf__lines_next(&lines, &more);
        if (status != RLHF_OK || !more)
            break;
        const char *text = lines.line.size ? lines.line.data : "";
        int64_t size = lines.line.size;
        if (lines.number == 1 && size >= 3 && memcmp(text, BYTE_ORDER_MARK, 3) == 0) {
            text += 3;
            size -= 3;
        }
        loader->line = lines.number;
        status = rlhf__loader_add_line(loader, text, size);
    }
    if (status == RLHF_OK)
        rlhf__progress_end(loader->context, "dataset", lines.total);
    rlhf__lines_close(&lines);
    return status;
}

/* Each document is encoded by itself. Where the tokenizer has the separator, its id
 * stands between them, and the stream as a whole gets a BOS and an EOS; where not, each
 * document gets them. */
static rlhf_status encode_stream(rlhf__loader *loader, const char *text, int64_t size,
                                 rlhf__ids *ids)
{
    const int64_t width = (int64_t)strlen(SEPARATOR);
    const int32_t separator =
        rlhf__tokenizer_find(loader->tokenizer, SEPARATOR, (size_t)width);
    const char *at = text, *end = text + size;

    for (bool first = true; at <= end; first = false) {
        const char *stop =
            at < end ? memmem(at, (size_t)(end - at), SEPARATOR, (size_t)width) : NULL;
        const int64_t length = (stop ? stop : end) - at;
        if (separator < 0 ? length > 0 : first)
            RLHF__TRY(rlhf__loader_add_bos(loader, ids));
        if (length > 0)
            RLHF__TRY(rlhf__tokenizer_encode(loader->tokenizer, at, (size_t)length,
                                             RLHF__ENCODE_PARSE_SPECIAL, ids));
        if (stop && separator >= 0)
            RLHF__TRY(rlhf__ids_append(ids, separator));
        if (separator < 0 ? length > 0 : !stop)
            RLHF__TRY(rlhf__loader_add_eos(loader, ids));
        if (!stop)
            break;
        RLHF__TRY(rlhf__progress(loader->context, "dataset", stop - text, size));
        at = stop + width;
    }
    rlhf__progress_end(loader->context, "dataset", size);
    return RLHF_OK;
}

static rlhf_status load_text(rlhf__loader *loader)
{
    rlhf__ids *ids = &loader->sides[0];
    char *text = NULL;
    int64_t size = 0, skip = 0;
    rlhf_status status;

    if (loader->dataset->kind != RLHF_DATASET_TEXT)
        return rlhf__fail_at(
            RLHF_ERR_INVALID_ARG, loader->path, 0, 0, "kind",
            "a plain text can only be of kind text; other kinds are read "
            "from .jsonl or .json");
    RLHF__TRY(rlhf__file_read(loader->context, loader->path, RLHF__DATA_FILE_MAX, &text,
                              &size));
    if (size >= 3 && memcmp(text, BYTE_ORDER_MARK, 3) == 0)
        skip = 3;
    if (size == skip) {
        loader->dataset->info.num_read++;
        rlhf__dataset_count(loader->dataset, RLHF__ROW_EMPTY);
        status = RLHF_OK;
    } else {
        status = encode_stream(loader, text + skip, size - skip, ids);
        if (status == RLHF_OK)
            status = rlhf__dataset_append(
                loader->dataset,
                &(rlhf_example){.tokens = ids->data, .num_tokens = ids->size});
    }
    rlhf__free(text);
    return status;
}

static void log_counts(const rlhf__loader *loader)
{
    rlhf_dataset_info info;

    rlhf__dataset_get_info(loader->dataset, &info);
    rlhf__log(loader->context, RLHF_LOG_INFO,
              "%s: %" PRId64 " rows read, %" PRId64 " kept (%" PRId64 " tokens), %" PRId64
              " truncated; dropped: %" PRId64 " over-long, %" PRId64
              " identical, %" PRId64 " empty",
              loader->path, info.num_read, info.num_rows, info.num_tokens,
              info.num_truncated, info.num_overlong_dropped, info.num_identical_dropped,
              info.num_empty_dropped);
}

static void free_loader(rlhf__loader *loader)
{
    rlhf__ids_free(&loader->prompt.ids);
    rlhf__ids_free(&loader->answer.ids);
    rlhf__ids_free(&loader->rejected.ids);
    rlhf__ids_free(&loader->sides[0]);
    rlhf__ids_free(&loader->sides[1]);
    rlhf__buffer_free(&loader->joined);
    rlhf__dataset_free(loader->dataset);
}

rlhf_status rlhf__dataset_load(rlhf_context *context, rlhf__tokenizer *tokenizer,
                               const char *path, const rlhf_dataset_options *options,
                               rlhf__dataset **out)
{
    rlhf__loader loader = {.context = context,
                           .tokenizer = tokenizer,
                           .path = path,
                           .prompt.ids.context = context,
                           .answer.ids.context = context,
                           .rejected.ids.context = context,
                           .sides = {{.context = context}, {.context = context}},
                           .joined.context = context};
    rlhf_status status;

    *out = NULL;
    RLHF__TRY(rlhf__dataset_create(context, options, &loader.dataset));
    loader.dataset->bos_id = rlhf__tokenizer_bos_id(tokenizer);
    loader.dataset->eos_id = rlhf__tokenizer_eos_id(tokenizer);
    loader.dataset->vocab_size = rlhf__tokenizer_vocab_size(tokenizer);
    if (ends_with(path, ".jsonl") || ends_with(path, ".json"))
        status = load_jsonl(&loader);
    else
        status = load_text(&loader);
    if (status == RLHF_OK) {
        log_counts(&loader);
        *out = loader.dataset;
        loader.dataset = NULL;
    }
    free_loader(&loader);
    return status;
}
