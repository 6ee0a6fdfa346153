/* Learning byte-pair merges: the pieces of the corpus are counted, then the most frequent
 * pair of adjacent tokens merges, again and again. Pair counts change only where a merge
 * happened, and a heap gives the next pair; entries whose count has fallen are put back
 * with the right one when they come up. The order among equals, and the corners of the
 * bookkeeping (an entry knows the words it was made with; counts within a merged pair are
 * left alone), are those of Hugging Face's BpeTrainer, so that its merges come out. */
#include <inttypes.h>
#include <string.h>

#include "base/context.h"
#include "text/parts.h"
#include "text/utf8.h"

#define POLL_PIECES 65536 /* some 10 ms of pre-tokenizing */

/* A list of word indices in `nodes`. */
typedef struct node {
    int32_t word;
    int32_t next; /* -1: end */
} node;

typedef struct pair {
    int32_t left, right;
    int64_t count;      /* over the corpus */
    int32_t head, tail; /* words where it appeared since it was last put into the heap */
    int64_t merge_at;   /* in `merges`; -1: not merged yet */
} pair;

/* Candidate merge. A pair may have several, each with words of its own. */
typedef struct entry {
    int64_t count; /* when it was put in */
    int32_t left, right;
    int32_t pair;
    int32_t head; /* its words */
} entry;

typedef struct word {
    int64_t at; /* in symbols */
    int64_t size;
    int64_t count;
} word;

struct rlhf__tokenizer_trainer {
    rlhf_context *context;                   /* borrowed */
    rlhf__tokenizer_train_settings settings; /* strings belong to `special` */
    rlhf__stage stage;
    rlhf__matcher *matcher;
    rlhf__strmap pieces;  /* -> count */
    rlhf__strmap special; /* the names, in order */
    int64_t since_poll;

    rlhf__strmap names; /* token -> id, ids in order */
    int32_t byte_id[256];
    word *words;
    int32_t *symbols;
    pair *pairs;
    int64_t num_pairs, pairs_capacity;
    int32_t *pair_slots; /* open addressing: index + 1 */
    int64_t num_pair_slots;
    uint64_t pair_seed; /* of the hash */
    int32_t *touched;   /* pairs with words to be put into the heap */
    int64_t num_touched, touched_capacity;
    node *nodes;
    int64_t num_nodes, nodes_capacity;
    int32_t free_node; /* list of nodes to be used again */
    entry *heap;
    int64_t heap_size, heap_capacity;
    rlhf__ids merges; /* left, right, merged, left, …; merged -1: merged again later */
};

/* --- pieces ------------------------------------------------------------------------- */

static rlhf_status check_settings(const rlhf__tokenizer_train_settings *s)
{
    int64_t least = 256 + s->num_special_tokens;

    if (s->vocab_size < least || s->vocab_size > RLHF__TOKENIZER_MAX_VOCAB) {
        (void)rlhf__fail(RLHF_ERR_INVALID_ARG,
                         "vocab_size must be in [%" PRId64 ", %" PRId64
                         "] (256 bytes and %" PRId64 " special tokens), got %" PRId64,
                         least, RLHF__TOKENIZER_MAX_VOCAB, s->num_special_tokens,
                         s->vocab_size);
        return rlhf__fail_field(RLHF_ERR_INVALID_ARG, "vocab_size");
    }
    if (s->min_frequency < 1) {
        (void)rlhf__fail(RLHF_ERR_INVALID_ARG, "min_frequency must be >= 1, got %" PRId64,
                         s->min_frequency);
        return rlhf__fail_field(RLHF_ERR_INVALID_ARG, "min_frequency");
    }
    return RLHF_OK;
}

static rlhf_status copy_special(rlhf__tokenizer_trainer *t,
                                const rlhf__tokenizer_train_settings *s)
{
    for (int64_t i = 0; i < s->num_special_tokens; i++) {
        const char *name = s->special_tokens[i] ? s->special_tokens[i] : "";
        int64_t size = (int64_t)strlen(name);
        if (size == 0 || size > RLHF__TOKENIZER_MAX_ADDED ||
            rlhf__utf8_valid(name, size) != size)
            return rlhf__fail(RLHF_ERR_INVALID_ARG,
                              "special_tokens[%" PRId64 "] is not 1 to %d bytes of UTF-8",
                              i, RLHF__TOKENIZER_MAX_ADDED);
        if (rlhf__strmap_find(&t->special, name, size) >= 0)
            return rlhf__fail(RLHF_ERR_INVALID_ARG,
                              "special token \"%.60s\" is given twice", name);
        RLHF__TRY(rlhf__strmap_add(&t->special, name, size, i));
    }
    return RLHF_OK;
}

/* The token's name from our own copy. */
static rlhf_status own_special(const rlhf__tokenizer_trainer *t, const char *field,
                               const char **name)
{
    if (!*name)
        return RLHF_OK;
    int64_t found = rlhf__strmap_find(&t->special, *name, (int64_t)strlen(*name));
    if (found < 0)
        return rlhf__fail(RLHF_ERR_INVALID_ARG, "%s \"%.60s\" is not a special token",
                          field, *name);
    *name = rlhf__strmap_key(&t->special, found);
    return RLHF_OK;
}

rlhf_status rlhf__tokenizer_trainer_create(rlhf_context *context,
                                           const rlhf__tokenizer_train_settings *settings,
                                           rlhf__tokenizer_trainer **out)
{
    rlhf__tokenizer_trainer *t;

    *out = NULL;
    RLHF__TRY(check_settings(settings));
    RLHF__TRY(rlhf__alloc(context, 1, sizeof *t, RLHF_MEMORY_GENERAL, &t));
    t->context = t->pieces.context = t->special.context = t->names.context = context;
    t->merges.context = context;
    t->settings = *settings;
    t->settings.special_tokens = NULL; /* the host's */
    t->free_node = -1;
    rlhf_status status = copy_special(t, settings);
    if (status == RLHF_OK)
        status = own_special(t, "bos_token", &t->settings.bos_token);
    if (status == RLHF_OK)
        status = own_special(t, "eos_token", &t->settings.eos_token);
    if (status == RLHF_OK)
        status = rlhf__regex_compile(context, rlhf__gpt2_pattern,
                                     (int64_t)strlen(rlhf__gpt2_pattern), false, NULL,
                                     &t->stage.regex);
    if (status == RLHF_OK)
        status = rlhf__matcher_create(context, &t->matcher);
    if (status == RLHF_OK) /* before the texts are counted, which can take long */
        status = rlhf__progress(context, "tokenizer", 0,
                                settings->vocab_size - 256 - t->special.num_entries);
    if (status == RLHF_OK)
        *out = t;
    else
        rlhf__tokenizer_trainer_free(t);
    return status;
}

void rlhf__tokenizer_trainer_free(rlhf__tokenizer_trainer *t)
{
    if (!t)
        return;
    rlhf__regex_free(t->stage.regex);
    rlhf__matcher_free(t->matcher);
    rlhf__strmap_free(&t->pieces);
    rlhf__strmap_free(&t->special);
    rlhf__strmap_free(&t->names);
    rlhf__free(t->words);
    rlhf__free(t->symbols);
    rlhf__free(t->pairs);
    rlhf__free(t->pair_slots);
    rlhf__free(t->touched);
    rlhf__free(t->nodes);
    rlhf__free(t->heap);
    rlhf__ids_free(&t->merges);
    rlhf__free(t);
}

static rlhf_status count_piece(void *arg, const char *piece, int64_t size)
{
    rlhf__tokenizer_trainer *t = arg;
    int64_t found = rlhf__strmap_find(&t->pieces, piece, size);

    if (++t->since_poll >= POLL_PIECES) {
        t->since_poll = 0;
        RLHF__TRY(rlhf__check_cancel(t->context));
    }
    if (found < 0)
        return rlhf__strmap_add(&t->pieces, piece, size, 1);
    t->pieces.entries[found].value++;
    return RLHF_OK;
}

rlhf_status rlhf__tokenizer_trainer_add(rlhf__tokenizer_trainer *t, const char *text,
                                        size_t size)
{
    rlhf__matcher_begin(t->matcher, (int64_t)size);
    return rlhf__pieces(&t->stage, 1, t->matcher, t->context, text, (int64_t)size, true,
                        count_piece, t);
}

/* --- pairs -------------------------------------------------------------------------- */

static int64_t probe(const rlhf__tokenizer_trainer *t, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint64_t mask = (uint64_t)t->num_pair_slots - 1;
    uint64_t slot = rlhf__hash_pair(key, t->pair_seed) & mask;

    for (; t->pair_slots[slot] != 0; slot = (slot + 1) & mask) {
        const pair *p = &t->pairs[t->pair_slots[slot] - 1];
        if (p->left == left && p->right == right)
            break;
    }
    return (int64_t)slot;
}

static rlhf_status grow_pair_slots(rlhf__tokenizer_trainer *t)
{
    int64_t num_slots = t->num_pair_slots > 0 ? 2 * t->num_pair_slots : 4096;
    int32_t *slots;

    RLHF__TRY(
        rlhf__alloc(t->context, num_slots, sizeof *slots, RLHF_MEMORY_GENERAL, &slots));
    if (!t->pair_slots)
        t->pair_seed = rlhf__hash_seed();
    rlhf__free(t->pair_slots);
    t->pair_slots = slots;
    t->num_pair_slots = num_slots;
    for (int64_t i = 0; i < t->num_pairs; i++)
        slots[probe(t, t->pairs[i].left, t->pairs[i].right)] = (int32_t)(i + 1);
    return RLHF_OK;
}

static rlhf_status find_pair(rlhf__tokenizer_trainer *t, int32_t left, int32_t right,
                             int32_t *out_index)
{
    if (2 * (t->num_pairs + 1) > t->num_pair_slots)
        RLHF__TRY(grow_pair_slots(t));
    int64_t slot = probe(t, left, right);
    if (t->pair_slots[slot] == 0) {
        if (t->num_pairs >= INT32_MAX - 1)
            return rlhf__fail(RLHF_ERR_LIMIT,
                              "the corpus has more than 2^31 distinct pairs");
        RLHF__TRY(rlhf__grow(t->context, &t->pairs, &t->pairs_capacity, t->num_pairs + 1,
                             sizeof *t->pairs));
        t->pairs[t->num_pairs] = (pair){left, right, 0, -1, -1, -1};
        t->pair_slots[slot] = (int32_t)++t->num_pairs;
    }
    *out_index = t->pair_slots[slot] - 1;
    return RLHF_OK;
}

static rlhf_status new_node(rlhf__tokenizer_trainer *t, int32_t word_index, int32_t *out)
{
    int32_t index = t->free_node;

    if (index >= 0) {
        t->free_node = t->nodes[index].next;
    } else {
        if (t->num_nodes >= INT32_MAX)
            return rlhf__fail(RLHF_ERR_LIMIT, "the corpus has too many distinct words");
        RLHF__TRY(rlhf__grow(t->context, &t->nodes, &t->nodes_capacity, t->num_nodes + 1,
                             sizeof *t->nodes));
        index = (int32_t)t->num_nodes++;
    }
    t->nodes[index] = (node){word_index, -1};
    *out = index;
    return RLHF_OK;
}

/* The pair's count changes by `change` in the word; where it appears anew the word is
 * noted. */
static rlhf_status change_pair(rlhf__tokenizer_trainer *t, int32_t left, int32_t right,
                               int64_t change, int32_t word_index)
{
    int32_t index = -1, fresh = -1;

    RLHF__TRY(find_pair(t, left, right, &index));
    pair *p = &t->pairs[index];
    p->count += change * t->words[word_index].count;
    if (change < 0 || (p->tail >= 0 && t->nodes[p->tail].word == word_index))
        return RLHF_OK;
    RLHF__TRY(new_node(t, word_index, &fresh));
    if (p->tail >= 0) {
        t->nodes[p->tail].next = fresh;
    } else {
        RLHF__TRY(rlhf__grow(t->context, &t->touched, &t->touched_capacity,
                             t->num_touched + 1, sizeof *t->touched));
        t->touched[t->num_touched++] = index;
        p->head = fresh;
    }
    p->tail = fresh;
    return RLHF_OK;
}

static void free_nodes(rlhf__tokenizer_trainer *t, int32_t head)
{
    while (head >= 0) {
        int32_t next = t->nodes[head].next;
        t->nodes[head].next = t->free_node;
        t->free_node = head;
        head = next;
    }
}

/* --- heap --------------------------------------------------------------------------- */

/* The higher count first, then the smaller ids. */
static bool before(const entry *a, const entry *b)
{
    if (a->count != b->count)
        return a->count > b->count;
    return a->left != b->left ? a->left < b->left : a->right < b->right;
}

static rlhf_status push(rlhf__tokenizer_trainer *t, entry new)
{
    RLHF__TRY(rlhf__grow(t->context, &t->heap, &t->heap_capacity, t->heap_size + 1,
                         sizeof *t->heap));
    int64_t i = t->heap_size++;
    for (; i > 0 && before(&new, &t->heap[(i - 1) / 2]); i = (i - 1) / 2)
        t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = new;
    return RLHF_OK;
}

/* Puts `new` in the top's place. */
static void replace_top(rlhf__tokenizer_trainer *t, entry new)
{
    int64_t i = 0;

    for (int64_t child; (child = 2 * i + 1) < t->heap_size; i = child) {
        if (child + 1 < t->heap_size && before(&t->heap[child + 1], &t->heap[child]))
            child++;
        if (!before(&t->heap[child], &new))
            break;
        t->heap[i] = t->heap[child];
    }
    t->heap[i] = new;
}

static rlhf_status push_touched(rlhf__tokenizer_trainer *t)
{
    for (int64_t i = 0; i < t->num_touched; i++) {
        pair *p = &t->pairs[t->touched[i]];
        int32_t head = p->head;
        p->head = p->tail = -1;
        if (p->count > 0)
            RLHF__TRY(push(t, (entry){p->count, p->left, p->right, t->touched[i], head}));
        else
            free_nodes(t, head);
    }
    t->num_touched = 0;
    return RLHF_OK;
}

/* --- merging ------------------------------------------------------------------------ */

static rlhf_status merge_word(rlhf__tokenizer_trainer *t, int32_t left, int32_t right,
                              int32_t merged, int32_t word_index)
{
    word *w = &t->words[word_index];
    int32_t *s = t->symbols + w->at;
    int64_t kept = 0;

    for (int64_t i = 0; i < w->size; kept++) {
        if (s[i] != left || i + 1 == w->size || s[i + 1] != right) {
            s[kept] = s[i++];
            continue;
        }
        if (kept > 0) {
            RLHF__TRY(change_pair(t, s[kept - 1], left, -1, word_index));
            RLHF__TRY(change_pair(t, s[kept - 1], merged, 1, word_index));
        }
        s[kept] = merged;
        i += 2;
        if (i < w->size) {
            RLHF__TRY(change_pair(t, right, s[i], -1, word_index));
            RLHF__TRY(change_pair(t, merged, s[i], 1, word_index));
        }
    }
    w->size = kept;
    return RLHF_OK;
}

/* Id of the text that the two tokens make; a new one unless it is there already. */
static rlhf_status merged_id(rlhf__tokenizer_trainer *t, int32_t left, int32_t right,
                             rlhf__buffer *text, int32_t *out_id)
{
    int32_t part[2] = {left, right};

    text->size = 0;
    for (int i = 0; i < 2; i++)
        RLHF__TRY(rlhf__buffer_append(text, rlhf__strmap_key(&t->names, part[i]),
                                      t->names.entries[part[i]].key_size));
    int64_t id = rlhf__strmap_find(&t->names, text->data, text->size);
    if (id < 0) {
        id = t->names.num_entries;
        RLHF__TRY(rlhf__strmap_add(&t->names, text->data, text->size, id));
    }
    *out_id = (int32_t)id;
    return RLHF_OK;
}

static rlhf_status merge_top(rlhf__tokenizer_trainer *t, rlhf__buffer *text)
{
    entry top = t->heap[0], last = t->heap[--t->heap_size];
    pair *p = &t->pairs[top.pair];
    int32_t id = -1;

    if (t->heap_size > 0)
        replace_top(t, last);
    RLHF__TRY(merged_id(t, top.left, top.right, text, &id));
    if (p->merge_at >= 0) /* merged before, in other words: the later rank counts */
        t->merges.data[p->merge_at + 2] = -1;
    p->merge_at = t->merges.size;
    RLHF__TRY(rlhf__ids_append(&t->merges, top.left));
    RLHF__TRY(rlhf__ids_append(&t->merges, top.right));
    RLHF__TRY(rlhf__ids_append(&t->merges, id));
    for (int32_t n = top.head; n >= 0; n = t->nodes[n].next)
        RLHF__TRY(merge_word(t, top.left, top.right, id, t->nodes[n].word));
    free_nodes(t, top.head);
    return push_touched(t);
}

static rlhf_status learn(rlhf__tokenizer_trainer *t, rlhf__buffer *text)
{
    int64_t goal = t->settings.vocab_size, first = t->names.num_entries;

    while (t->names.num_entries < goal && t->heap_size > 0) {
        entry top = t->heap[0];
        int64_t count = t->pairs[top.pair].count;
        if (top.count != count) {
            top.count = count;
            replace_top(t, top);
            continue;
        }
        if (count < t->settings.min_frequency)
            break;
        RLHF__TRY(merge_top(t, text));
        if (t->names.num_entries < goal)
            RLHF__TRY(rlhf__progress(t->context, "tokenizer",
                                     t->names.num_entries - first, goal - first));
    }
    rlhf__progress_end(t->context, "tokenizer", goal - first);
    return RLHF_OK;
}

/* --- from pieces to words of ids ---------------------------------------------------- */

/* Special tokens, then the byte alphabet by code point. */
static rlhf_status name_first(rlhf__tokenizer_trainer *t)
{
    for (int64_t i = 0; i < t->special.num_entries; i++)
        RLHF__TRY(rlhf__strmap_add(&t->names, rlhf__strmap_key(&t->special, i),
                                   t->special.entries[i].key_size, i));
    for (uint32_t c = 0; c < 256 + 68; c++) {
        int byte = rlhf__char_to_byte(c);
        char text[4];
        if (byte < 0)
            continue;
        int length = rlhf__utf8_encode(c, text);
        int64_t id = rlhf__strmap_find(&t->names, text, length);
        if (id < 0) {
            id = t->names.num_entries;
            RLHF__TRY(rlhf__strmap_add(&t->names, text, length, id));
        }
        t->byte_id[byte] = (int32_t)id;
    }
    return RLHF_OK;
}

static rlhf_status make_words(rlhf__tokenizer_trainer *t)
{
    int64_t num_words = t->pieces.num_entries, at = 0;

    if (num_words > INT32_MAX)
        return rlhf__fail(RLHF_ERR_LIMIT, "the corpus has too many distinct words");
    RLHF__TRY(rlhf__alloc_raw(t->context, num_words, sizeof *t->words,
                              RLHF_MEMORY_GENERAL, &t->words));
    RLHF__TRY(rlhf__alloc_raw(t->context, t->pieces.keys_size, sizeof *t->symbols,
                              RLHF_MEMORY_GENERAL, &t->symbols));
    for (int64_t i = 0; i < num_words; i++) {
        const char *piece = rlhf__strmap_key(&t->pieces, i);
        int64_t size = t->pieces.entries[i].key_size;
        t->words[i] = (word){at, size, t->pieces.entries[i].value};
        for (int64_t k = 0; k < size; k++)
            t->symbols[at++] = t->byte_id[(unsigned char)piece[k]];
    }
    for (int64_t i = 0; i < num_words; i++) {
        const int32_t *s = t->symbols + t->words[i].at;
        for (int64_t k = 0; k + 1 < t->words[i].size; k++)
            RLHF__TRY(change_pair(t, s[k], s[k + 1], 1, (int32_t)i));
    }
    return push_touched(t);
}

rlhf_status rlhf__tokenizer_trainer_finish(rlhf__tokenizer_trainer *t,
                                           rlhf__tokenizer **out)
{
    rlhf__buffer text = {.context = t->context};
    rlhf_status status;

    *out = NULL;
    if (t->names.num_entries > 0)
        return rlhf__fail(RLHF_ERR_STATE, "this tokenizer has been trained already");
    status = name_first(t);
    if (status == RLHF_OK)
        status = make_words(t);
    if (status == RLHF_OK)
        status = learn(t, &text);
    rlhf__buffer_free(&text);
    if (status == RLHF_OK)
        status = rlhf__tokenizer_from_merges(
            t->context, &t->names, &t->merges, t->special.num_entries,
            t->settings.bos_token, t->settings.eos_token, out);
    return status;
}
