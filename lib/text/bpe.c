/* Byte-pair encoding of one piece: its characters (or bytes) become ids, then the
 * adjacent pair of lowest rank merges, leftmost first, until none is left (Sennrich et
 * al. 2016). Unknown characters are treated as Hugging Face's models/bpe does it. */
#include <assert.h>
#include <string.h>

#include "text/parts.h"
#include "text/utf8.h"

#define SHORT                                                                            \
    48 /* symbols up to which scanning all ranks beats a heap (measured on English) */

typedef struct rlhf__symbol {
    int32_t id;         /* -1: merged into its left neighbour */
    int32_t prev, next; /* index, or -1 */
} rlhf__symbol;

/* A pair that may be merged; stale once either side has changed. */
typedef struct rlhf__candidate {
    int32_t rank;
    int32_t at; /* the left symbol */
    int32_t id; /* of the merged token */
} rlhf__candidate;

uint32_t rlhf__byte_to_char(unsigned char byte)
{
    if ((byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE)
        return byte;
    /* The other 68, in order, follow U+00FF: 0..32, 127..160, 173. */
    if (byte <= 32)
        return 256u + byte;
    return byte == 173 ? 256u + 67 : 256u + 33 + (byte - 127u);
}

int rlhf__char_to_byte(uint32_t code_point)
{
    if (code_point < 256)
        return rlhf__byte_to_char((unsigned char)code_point) == code_point
                   ? (int)code_point
                   : -1;
    if (code_point >= 256 + 68)
        return -1;
    int index = (int)code_point - 256;
    return index < 33 ? index : index < 67 ? index - 33 + 127 : 173;
}

const rlhf__merge *rlhf__merge_find(const rlhf__tokenizer *t, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint64_t mask = (uint64_t)t->num_merge_slots - 1;
    uint64_t slot = rlhf__hash_pair(key, t->merge_seed) & mask;

    while (t->merges[slot].key != key) {
        if (t->merges[slot].key == RLHF__MERGE_FREE)
            return NULL;
        slot = (slot + 1) & mask;
    }
    return &t->merges[slot];
}

void rlhf__bpe_scratch_free(rlhf__bpe_scratch *scratch)
{
    rlhf__free(scratch->symbols);
    rlhf__free(scratch->heap);
    rlhf__ids_free(&scratch->units);
}

/* --- characters to ids -------------------------------------------------------------- */

/* One character that the vocabulary lacks; *pending is an unknown token not yet written.
 */
static rlhf_status add_unknown(const rlhf__tokenizer *t, const char *text, int length,
                               int32_t *pending, rlhf__ids *units)
{
    if (t->byte_fallback) {
        bool all = true;
        for (int i = 0; i < length; i++)
            all = all && t->fallback_id[(unsigned char)text[i]] >= 0;
        for (int i = 0; all && i < length; i++)
            RLHF__TRY(rlhf__ids_append(units, t->fallback_id[(unsigned char)text[i]]));
        if (all)
            return RLHF_OK;
    }
    if (t->model_unk_id < 0)
        return RLHF_OK;
    if (*pending >= 0 && !t->fuse_unk)
        RLHF__TRY(rlhf__ids_append(units, *pending));
    *pending = t->model_unk_id;
    return RLHF_OK;
}

/* Next character of the piece as the vocabulary spells it, and its id or -1. */
static int64_t next_unit(const rlhf__tokenizer *t, const char *piece, int64_t size,
                         char spelling[4], int *out_length, int32_t *out_id)
{
    unsigned char first = (unsigned char)piece[0];
    int length = 1;

    if (t->byte_level) {
        *out_id = t->byte_id[first];
        *out_length = rlhf__utf8_encode(rlhf__byte_to_char(first), spelling);
        return 1;
    }
    if (first >= 0x80)
        length = rlhf__utf8_char(piece, size);
    if (length <= 0) { /* an invalid byte is a character of its own, and unknown */
        length = 1;
        *out_id = -1;
    } else if (first < 0x80) {
        *out_id = t->byte_id[first];
    } else {
        int64_t entry = rlhf__strmap_find(&t->names, piece, length);
        *out_id = entry >= 0 && entry < t->model_size
                      ? (int32_t)t->names.entries[entry].value
                      : -1;
    }
    memcpy(spelling, piece, (size_t)length);
    *out_length = length;
    return length;
}

static rlhf_status to_units(const rlhf__tokenizer *t, const char *piece, int64_t size,
                            rlhf__ids *units)
{
    int32_t pending = -1;

    units->size = 0;
    for (int64_t at = 0; at < size;) {
        char spelling[4];
        int length;
        int32_t id;
        at += next_unit(t, piece + at, size - at, spelling, &length, &id);
        if (id < 0) {
            RLHF__TRY(add_unknown(t, spelling, length, &pending, units));
            continue;
        }
        if (pending >= 0)
            RLHF__TRY(rlhf__ids_append(units, pending));
        pending = -1;
        RLHF__TRY(rlhf__ids_append(units, id));
    }
    return pending >= 0 ? rlhf__ids_append(units, pending) : RLHF_OK;
}

/* --- merging ------------------------------------------------------------------------ */

/* In place; returns how many are left. */
static int64_t merge_short(const rlhf__tokenizer *t, int32_t *ids, int64_t count)
{
    int32_t rank[SHORT], merged[SHORT]; /* of the pair (i, i + 1); rank INT32_MAX: none */

    for (int64_t i = 0; i + 1 < count; i++) {
        const rlhf__merge *m = rlhf__merge_find(t, ids[i], ids[i + 1]);
        rank[i] = m ? m->rank : INT32_MAX;
        merged[i] = m ? m->id : -1;
    }
    while (count > 1) {
        int64_t best = 0;
        for (int64_t i = 1; i + 1 < count; i++)
            if (rank[i] < rank[best])
                best = i;
        if (rank[best] == INT32_MAX)
            break;
        ids[best] = merged[best];
        size_t tail = (size_t)(count - best - 2) * sizeof *ids;
        memmove(ids + best + 1, ids + best + 2, tail);
        memmove(rank + best, rank + best + 1, tail);
        memmove(merged + best, merged + best + 1, tail);
        count--;
        for (int64_t i = best > 0 ? best - 1 : 0; i <= best && i + 1 < count; i++) {
            const rlhf__merge *m = rlhf__merge_find(t, ids[i], ids[i + 1]);
            rank[i] = m ? m->rank : INT32_MAX;
            merged[i] = m ? m->id : -1;
        }
    }
    return count;
}

static bool before(rlhf__candidate a, rlhf__candidate b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static void push(rlhf__candidate *heap, int64_t *size, rlhf__candidate new)
{
    int64_t i = (*size)++;

    for (; i > 0 && before(new, heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = new;
}

static rlhf__candidate pop(rlhf__candidate *heap, int64_t *size)
{
    rlhf__candidate top = heap[0], last = heap[--*size];
    int64_t i = 0;

    for (int64_t child; (child = 2 * i + 1) < *size; i = child) {
        if (child + 1 < *size && before(heap[child + 1], heap[child]))
            child++;
        if (!before(heap[child], last))
            break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

static void consider(const rlhf__tokenizer *t, const rlhf__symbol *symbols, int32_t at,
                     rlhf__candidate *heap, int64_t *size)
{
    int32_t next = at >= 0 ? symbols[at].next : -1;
    const rlhf__merge *m =
        next >= 0 ? rlhf__merge_find(t, symbols[at].id, symbols[next].id) : NULL;

    if (m)
        push(heap, size, (rlhf__candidate){m->rank, at, m->id});
}

/* A piece of n symbols has n - 1 pairs at first, and each of at most n - 1 merges adds
 * two. */
static rlhf_status merge_long(const rlhf__tokenizer *t, rlhf__bpe_scratch *scratch)
{
    int64_t count = scratch->units.size, heap_size = 0;

    RLHF__TRY(rlhf__grow(scratch->context, &scratch->symbols, &scratch->symbols_capacity,
                         count, sizeof *scratch->symbols));
    RLHF__TRY(rlhf__grow(scratch->context, &scratch->heap, &scratch->heap_capacity,
                         3 * count, sizeof *scratch->heap));
    rlhf__symbol *symbols = scratch->symbols;
    rlhf__candidate *heap = scratch->heap;
    for (int32_t i = 0; i < (int32_t)count; i++)
        symbols[i] = (rlhf__symbol){scratch->units.data[i], i - 1,
                                    i + 1 < (int32_t)count ? i + 1 : -1};
    for (int32_t i = 0; i < (int32_t)count; i++)
        consider(t, symbols, i, heap, &heap_size);
    while (heap_size > 0) {
        rlhf__candidate top = pop(heap, &heap_size);
        rlhf__symbol *left = &symbols[top.at];
        if (left->id < 0 || left->next < 0)
            continue;
        const rlhf__merge *m = rlhf__merge_find(t, left->id, symbols[left->next].id);
        if (!m || m->id != top.id) /* stale */
            continue;
        rlhf__symbol *right = &symbols[left->next];
        left->id = top.id;
        left->next = right->next;
        right->id = -1;
        if (left->next >= 0)
            symbols[left->next].prev = top.at;
        consider(t, symbols, left->prev, heap, &heap_size);
        consider(t, symbols, top.at, heap, &heap_size);
    }
    int64_t kept = 0;
    for (int32_t i = 0; i >= 0 && count > 0; i = symbols[i].next)
        scratch->units.data[kept++] = symbols[i].id;
    scratch->units.size = kept;
    return RLHF_OK;
}

static rlhf_status encode_units(const rlhf__tokenizer *t, rlhf__bpe_scratch *scratch,
                                const char *piece, int64_t size)
{
    RLHF__TRY(to_units(t, piece, size, &scratch->units));
    if (scratch->units.size > INT32_MAX / 4)
        return rlhf__fail(RLHF_ERR_LIMIT,
                          "a piece of %lld characters without a place to cut",
                          (long long)scratch->units.size);
    if (scratch->units.size > SHORT)
        return merge_long(t, scratch);
    scratch->units.size = merge_short(t, scratch->units.data, scratch->units.size);
    return RLHF_OK;
}

rlhf_status rlhf__bpe_encode(const rlhf__tokenizer *t, rlhf__bpe_scratch *scratch,
                             const char *piece, int64_t size, rlhf__ids *ids)
{
    int64_t entry = rlhf__strmap_find(&t->whole, piece, size);

    if (entry >= 0)
        return rlhf__ids_append(ids, (int32_t)t->whole.entries[entry].value);
    RLHF__TRY(encode_units(t, scratch, piece, size));
    for (int64_t i = 0; i < scratch->units.size; i++)
        RLHF__TRY(rlhf__ids_append(ids, scratch->units.data[i]));
    return RLHF_OK;
}

/* --- pieces that are one token ------------------------------------------------------ */

/* The text that the model reads as this token: bytes if byte-level. False: there is none.
 */
static bool model_text(const rlhf__tokenizer *t, int64_t name, char *out,
                       int64_t *out_size)
{
    const char *key = rlhf__strmap_key(&t->names, name);
    int64_t size = t->names.entries[name].key_size;

    *out_size = 0;
    for (int64_t at = 0; at < size;) {
        int length = rlhf__utf8_char(key + at, size - at);
        if (length <= 0)
            return false;
        int byte = rlhf__char_to_byte(rlhf__utf8_decode(key + at, length));
        if (t->byte_level && byte < 0)
            return false;
        if (t->byte_level)
            out[(*out_size)++] = (char)byte;
        else
            memcpy(out + *out_size, key + at, (size_t)length), *out_size += length;
        at += length;
    }
    return size > 0;
}

rlhf_status rlhf__bpe_index_whole(rlhf__tokenizer *t)
{
    rlhf__bpe_scratch scratch = {.context = t->context, .units.context = t->context};
    rlhf__buffer text = {.context = t->context};
    rlhf_status status = RLHF_OK;

    for (int64_t i = 0; i < t->model_size && status == RLHF_OK; i++) {
        int32_t id = (int32_t)t->names.entries[i].value;
        int64_t size = 0;
        bool one = false;
        status = rlhf__poll(t, i);
        if (status == RLHF_OK)
            status = rlhf__grow(t->context, &text.data, &text.capacity,
                                t->names.entries[i].key_size, 1);
        if (status != RLHF_OK || !model_text(t, i, text.data, &size))
            continue;
        if (!t->ignore_merges) {
            status = encode_units(t, &scratch, text.data, size);
            assert(scratch.units.size == 0 || scratch.units.data);
            one = status == RLHF_OK && scratch.units.size == 1 &&
                  scratch.units.data[0] == id;
        }
        if (status == RLHF_OK && (one || t->ignore_merges))
            status = rlhf__strmap_add(&t->whole, text.data, size, id);
    }
    rlhf__buffer_free(&text);
    rlhf__bpe_scratch_free(&scratch);
    return status;
}
