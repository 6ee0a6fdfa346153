/* The generator's life: sequences wait, take a slot, are decoded position by position,
 * end. */
#include "generate/generator.h"

#include <fenv.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/size.h"
#include "text/tokenizer.h"

#define GROUP_TOKENS 4096 /* of one forward pass: bounds the memory that prompts take */

#define FIELD(member) #member, .offset = offsetof(rlhf_generator_options, member)
static const rlhf__field generator_fields[] = {
    {FIELD(max_new_tokens), .type = RLHF__FIELD_I32, .default_value = 64, .min = 1,
     .max = INT32_MAX, .help = "most tokens of an answer"},
    {FIELD(min_new_tokens), .type = RLHF__FIELD_I32, .min = 0, .max = INT32_MAX,
     .help = "stop tokens are masked before"},
    {FIELD(stop_tokens), .type = RLHF__FIELD_POINTER,
     .help = "ids that end an answer; NULL: the model's eos_token_id"},
    {FIELD(num_stop_tokens), .type = RLHF__FIELD_I32, .min = 0, .max = 4096,
     .help = "number of stop_tokens"},
    {FIELD(use_stop_tokens), .type = RLHF__FIELD_BOOL, .default_value = 1,
     .help = "0: nothing ends an answer but its length"},
    {FIELD(seed), .type = RLHF__FIELD_U64, .help = "of the uniforms"},
    {FIELD(temperature), .type = RLHF__FIELD_F64, .default_value = 1.0, .min = 0.0,
     .min_exclusive = true, .max = HUGE_VAL, .max_exclusive = true,
     .help = "tau of the log-probabilities recorded"},
    {FIELD(tokenizer), .type = RLHF__FIELD_POINTER, .help = "for text; NULL without"},
    {FIELD(text), .type = RLHF__FIELD_POINTER,
     .help = "text callback; NULL: no streaming"},
    {FIELD(text_user_data), .type = RLHF__FIELD_POINTER, .help = "its first argument"},
};
#undef FIELD

const rlhf__struct_desc rlhf__generator_options_desc = {
    "rlhf_generator_options", sizeof(rlhf_generator_options),
    sizeof(rlhf_generator_options), generator_fields,
    sizeof generator_fields / sizeof generator_fields[0]};

/* Whether no token is left to pick while the stop tokens are masked. */
static rlhf_status masks_all(const rlhf__generator *g,
                             const rlhf__generator_settings *settings, bool *out)
{
    const int32_t vocab = g->net->config.vocab_size;
    bool *stops = NULL;
    int32_t count = 0;

    *out = false;
    if (settings->min_new_tokens < 1 || settings->num_stop_tokens < vocab)
        return RLHF_OK;
    RLHF__TRY(rlhf__alloc(g->context, vocab, sizeof *stops, RLHF_MEMORY_GENERAL, &stops));
    for (int64_t i = 0; i < settings->num_stop_tokens; i++) {
        count += !stops[settings->stop_tokens[i]];
        stops[settings->stop_tokens[i]] = true;
    }
    rlhf__free(stops);
    *out = count == vocab;
    return RLHF_OK;
}

static rlhf_status copy_stop_tokens(rlhf__generator *g,
                                    const rlhf__generator_settings *settings)
{
    const int32_t vocab = g->net->config.vocab_size;
    bool none_left = false;

    for (int64_t i = 0; i < settings->num_stop_tokens; i++)
        if (settings->stop_tokens[i] < 0 || settings->stop_tokens[i] >= vocab)
            return rlhf__fail_arg("stop_tokens",
                                  "stop_tokens[%" PRId64 "] must be in [0, %" PRId32
                                  "), got %" PRId32,
                                  i, vocab, settings->stop_tokens[i]);
    RLHF__TRY(masks_all(g, settings, &none_left));
    if (none_left)
        return rlhf__fail_arg("stop_tokens",
                              "stop_tokens are the whole vocabulary of "
                              "%" PRId32 ": min_new_tokens %" PRId64
                              " leaves no token to pick",
                              vocab, settings->min_new_tokens);
    RLHF__TRY(rlhf__alloc(g->context, settings->num_stop_tokens, sizeof *g->stop_tokens,
                          RLHF_MEMORY_GENERAL, &g->stop_tokens));
    if (settings->num_stop_tokens > 0)
        memcpy(g->stop_tokens, settings->stop_tokens,
               (size_t)settings->num_stop_tokens * sizeof *g->stop_tokens);
    g->settings.stop_tokens = g->stop_tokens;
    return RLHF_OK;
}

rlhf_status rlhf__generator_create(rlhf__transformer *net, const rlhf__sampler *sampler,
                                   const rlhf__generator_settings *settings,
                                   rlhf__tape *tape, rlhf__generator **out_generator)
{
    rlhf__generator *g = NULL;
    rlhf_status status;

    *out_generator = NULL;
    RLHF__TRY(rlhf__alloc(net->context, 1, sizeof *g, RLHF_MEMORY_GENERAL, &g));
    g->context = net->context;
    g->net = net;
    g->sampler = sampler;
    g->settings = *settings;
    g->tape = tape;
    status = copy_stop_tokens(g, settings);
    if (status == RLHF_OK && !tape) {
        status = rlhf__tape_create(net->context, &g->tape);
        g->owns_tape = status == RLHF_OK;
    }
    if (status != RLHF_OK) {
        rlhf__generator_free(g);
        return status;
    }
    *out_generator = g;
    return RLHF_OK;
}

/* Its part in sampler, text stream and cache is over; tokens and log-probs stay. */
static void release(rlhf__generator *g, rlhf__answer *a)
{
    if (a->begun)
        rlhf__sampler_end(g->sampler, a->sampler_state);
    a->begun = false;
    rlhf__text_stream_free(a->stream);
    a->stream = NULL;
    if (a->slot >= 0) {
        g->slots[a->slot].length = 0;
        g->free_slots[g->num_free++] = a->slot;
        a->slot = -1;
    }
    a->pending = -1;
}

void rlhf__generator_clear(rlhf__generator *g)
{
    for (int64_t i = 0; i < g->num_answers; i++)
        release(g, &g->answers[i]);
    g->num_answers = 0;
    g->num_active = 0;
    g->next_waiting = 0;
}

void rlhf__generator_free(rlhf__generator *g)
{
    if (!g)
        return;
    rlhf__generator_clear(g);
    for (int64_t i = 0; i < g->num_slots; i++)
        rlhf__kv_cache_free(&g->slots[i]);
    if (g->owns_tape)
        rlhf__tape_free(g->tape);
    rlhf__free(g->slots);
    rlhf__free(g->free_slots);
    rlhf__free(g->active);
    rlhf__free(g->todo);
    rlhf__free(g->answers);
    rlhf__free(g->tokens);
    rlhf__free(g->logprobs);
    rlhf__free(g->stop_tokens);
    rlhf__free(g);
}

static rlhf_status check_prompts(const rlhf__generator *g, const int32_t *tokens,
                                 const int64_t *cu_seqlens, int64_t num_seqs)
{
    const rlhf__batch batch = {
        .tokens = tokens, .cu_seqlens = cu_seqlens, .num_seqs = num_seqs};

    if (num_seqs < 1)
        return rlhf__fail_arg("num_seqs", "num_seqs must be >= 1, got %" PRId64,
                              num_seqs);
    for (int64_t s = 0; s < num_seqs; s++) {
        const int64_t length = cu_seqlens[s + 1] - cu_seqlens[s];
        if (length < 1)
            return rlhf__fail(RLHF_ERR_INVALID_ARG, "prompt %" PRId64 " is empty", s);
        if (length >= g->net->config.context_length)
            return rlhf__fail(RLHF_ERR_INVALID_ARG,
                              "prompt %" PRId64 " has %" PRId64
                              " tokens and leaves no room in a context of %" PRId32,
                              s, length, g->net->config.context_length);
    }
    return rlhf__batch_check(g->net, &batch);
}

static int64_t room(const rlhf__generator *g, int64_t num_prompt)
{
    const int64_t left = g->net->config.context_length - num_prompt;

    return num_prompt + rlhf__min_i64(left, g->settings.max_new_tokens);
}

/* Slots for max_active sequences; an index stack holds the free ones. */
static rlhf_status make_slots(rlhf__generator *g, int64_t count)
{
    RLHF__TRY(
        rlhf__grow(g->context, &g->slots, &g->slots_capacity, count, sizeof *g->slots));
    RLHF__TRY(rlhf__grow(g->context, &g->free_slots, &g->free_capacity, count,
                         sizeof *g->free_slots));
    RLHF__TRY(rlhf__grow(g->context, &g->active, &g->active_capacity, count,
                         sizeof *g->active));
    for (; g->num_slots < count; g->num_slots++)
        g->slots[g->num_slots] = (rlhf__kv_cache){.context = g->context};
    RLHF__TRY(
        rlhf__grow(g->context, &g->todo, &g->todo_capacity, count, sizeof *g->todo));
    g->num_free = 0;
    for (int64_t i = g->num_slots - 1; i >= 0; i--)
        g->free_slots[g->num_free++] = i;
    return RLHF_OK;
}

rlhf_status rlhf__generator_start(rlhf__generator *g, const int32_t *tokens,
                                  const int64_t *cu_seqlens, int64_t num_seqs,
                                  const int64_t *sequence_ids)
{
    int64_t total = 0, longest = 0;

    RLHF__TRY(check_prompts(g, tokens, cu_seqlens, num_seqs));
    for (int64_t s = 0; s < num_seqs; s++) {
        const int64_t length = room(g, cu_seqlens[s + 1] - cu_seqlens[s]);
        total += length;
        longest = rlhf__max_i64(longest, length);
    }
    rlhf__generator_clear(g);
    RLHF__TRY(make_slots(g, g->settings.max_active > 0
                                ? rlhf__min_i64(num_seqs, g->settings.max_active)
                                : num_seqs));
    RLHF__TRY(rlhf__grow(g->context, &g->answers, &g->answers_capacity, num_seqs,
                         sizeof *g->answers));
    RLHF__TRY(rlhf__grow(g->context, &g->tokens, &g->tokens_capacity, total,
                         sizeof *g->tokens));
    RLHF__TRY(rlhf__grow(g->context, &g->logprobs, &g->logprobs_capacity, total,
                         sizeof *g->logprobs));
    g->longest_possible = longest;
    total = 0;
    for (int64_t s = 0; s < num_seqs; s++) {
        const int64_t length = cu_seqlens[s + 1] - cu_seqlens[s];
        g->answers[s] = (rlhf__answer){.id = sequence_ids ? sequence_ids[s] : s,
                                       .num_prompt = length,
                                       .num_tokens = length,
                                       .tokens = g->tokens + total,
                                       .logprobs = g->logprobs + total,
                                       .slot = -1,
                                       .pending = -1};
        memcpy(g->answers[s].tokens, tokens + cu_seqlens[s],
               (size_t)length * sizeof *tokens);
        total += room(g, length);
    }
    g->num_answers = num_seqs;
    return RLHF_OK;
}

/* The next waiting answer becomes active: sampler, text stream, slot. */
static rlhf_status admit(rlhf__generator *g)
{
    rlhf__answer *a = &g->answers[g->next_waiting];

    if (!a->begun) {
        RLHF__TRY(rlhf__sampler_begin(g->sampler, a->id, &a->sampler_state));
        a->begun = true;
    }
    if (g->settings.tokenizer && g->settings.text && !a->stream)
        RLHF__TRY(rlhf__text_stream_create(
            g->context, g->settings.tokenizer,
            RLHF__DECODE_SKIP_SPECIAL | RLHF__DECODE_SKIP_UNKNOWN, &a->stream));
    a->slot = (int32_t)g->free_slots[--g->num_free];
    g->active[g->num_active++] = g->next_waiting++;
    return RLHF_OK;
}

/* Every active cache to one capacity that holds the next position, grown by half so
 * that long answers do not copy at each block. */
static rlhf_status reserve_caches(rlhf__generator *g)
{
    int64_t needed = 0;

    for (int64_t i = 0; i < g->num_active; i++)
        needed = rlhf__max_i64(needed, g->answers[g->active[i]].num_tokens);
    if (needed > g->cache_capacity) {
        int64_t target =
            rlhf__max_i64(needed + RLHF__ATTENTION_BLOCK, g->cache_capacity * 3 / 2);
        target = rlhf__min_i64(target, rlhf__max_i64(needed, g->longest_possible));
        g->cache_capacity =
            rlhf__ceil_div(target, RLHF__ATTENTION_BLOCK) * RLHF__ATTENTION_BLOCK;
    }
    for (int64_t i = 0; i < g->num_active; i++) {
        rlhf__kv_cache *cache = &g->slots[g->answers[g->active[i]].slot];
        if (cache->capacity < g->cache_capacity)
            RLHF__TRY(rlhf__kv_cache_reserve(cache, g->net, g->cache_capacity));
    }
    return RLHF_OK;
}

/* A prompt that an answer under way has read already is taken over from its cache, but
 * for the last token, whose pass gives the row to pick from. */
static void adopt_prompt(rlhf__generator *g, const rlhf__answer *a)
{
    rlhf__kv_cache *cache = &g->slots[a->slot];

    if (cache->length > 0 || a->num_tokens > a->num_prompt || a->num_prompt < 2)
        return;
    for (int64_t i = 0; i < g->num_active; i++) {
        const rlhf__answer *b = &g->answers[g->active[i]];
        if (g->slots[b->slot].length < a->num_prompt || b->num_prompt != a->num_prompt ||
            memcmp(b->tokens, a->tokens, (size_t)a->num_prompt * sizeof *a->tokens) != 0)
            continue;
        rlhf__kv_cache_copy(cache, &g->slots[b->slot], g->net, a->num_prompt - 1);
        return;
    }
}

/* Decodes active answers that have no token pending, in groups of bounded size. */
static rlhf_status decode_active(rlhf__generator *g)
{
    int64_t count = 0, tokens = 0;

    for (int64_t i = 0; i < g->num_active; i++) {
        const rlhf__answer *a = &g->answers[g->active[i]];
        if (a->pending >= 0)
            continue;
        adopt_prompt(g, a);
        int64_t fresh = a->num_tokens - g->slots[a->slot].length;
        if (rlhf__generator_find_twin(g, g->todo, count, a) >= 0)
            fresh = 0;
        if (count > 0 && fresh > 0 && tokens + fresh > GROUP_TOKENS) {
            RLHF__TRY(rlhf__generator_decode(g, g->todo, count));
            count = tokens = 0;
        }
        g->todo[count++] = g->active[i];
        tokens += fresh;
    }
    return count > 0 ? rlhf__generator_decode(g, g->todo, count) : RLHF_OK;
}

static bool is_stop(const rlhf__generator *g, int32_t token)
{
    for (int64_t i = 0; g->settings.ends_at_stop && i < g->settings.num_stop_tokens; i++)
        if (g->stop_tokens[i] == token)
            return true;
    return false;
}

static rlhf_status stream_text(rlhf__generator *g, rlhf__answer *a, int32_t id,
                               bool *out_end)
{
    const char *text = NULL;
    size_t size = 0;
    fenv_t own;

    *out_end = false;
    if (!a->stream)
        return RLHF_OK;
    RLHF__TRY(rlhf__text_stream_push(a->stream, id, &text, &size));
    if (size == 0)
        return RLHF_OK;
    fegetenv(&own);
    *out_end = g->settings.text(g->settings.text_user_data, a->id, text, size) != 0;
    fesetenv(&own);
    return RLHF_OK;
}

/* Room for the text of every token that was picked, so that all are committed or none. */
static rlhf_status reserve_text(rlhf__generator *g)
{
    for (int64_t i = 0; i < g->num_active; i++) {
        const rlhf__answer *a = &g->answers[g->active[i]];
        if (a->stream)
            RLHF__TRY(rlhf__text_stream_reserve(a->stream, a->pending));
    }
    return RLHF_OK;
}

/* Appends the token that was picked and says whether the sequence goes on. */
static rlhf_status commit(rlhf__generator *g, rlhf__answer *a)
{
    bool told_to_end = false, ignored;

    RLHF__TRY(stream_text(g, a, a->pending, &told_to_end));
    a->logprobs[a->num_tokens - a->num_prompt] = a->pending_logprob;
    a->entropy += (double)a->pending_entropy;
    a->tokens[a->num_tokens++] = a->pending;
    if (is_stop(g, a->pending))
        a->finish = RLHF_FINISH_STOP;
    else if (told_to_end)
        a->finish = RLHF_FINISH_CALLBACK;
    else if (a->num_tokens - a->num_prompt >= g->settings.max_new_tokens)
        a->finish = RLHF_FINISH_LENGTH;
    else if (a->num_tokens >= g->net->config.context_length)
        a->finish = RLHF_FINISH_CONTEXT;
    a->pending = -1;
    if (a->finish != RLHF_FINISH_NONE) {
        const rlhf_status status = stream_text(g, a, -1, &ignored);
        release(g, a);
        return status;
    }
    return RLHF_OK;
}

/* Keys and values of weights that were since written over are of no use: the sequences
 * that go on are read again from their first token. */
static void follow_weights(rlhf__generator *g)
{
    const uint64_t version = g->net->params.version;

    for (int64_t i = 0; i < g->num_active && version != g->weights_version; i++)
        g->slots[g->answers[g->active[i]].slot].length = 0;
    g->weights_version = version;
}

rlhf_status rlhf__generator_step(rlhf__generator *g, int64_t *out_left)
{
    const int64_t left = g->num_active + g->num_answers - g->next_waiting;
    rlhf_status status = RLHF_OK;
    int64_t kept = 0;

    if (left > 0)
        RLHF__TRY(rlhf__progress(g->context, "generate", g->num_answers - left,
                                 g->num_answers));
    while (g->num_free > 0 && g->next_waiting < g->num_answers)
        RLHF__TRY(admit(g));
    if (g->num_active > 0) {
        follow_weights(g);
        RLHF__TRY(reserve_caches(g));
        RLHF__TRY(decode_active(g));
        RLHF__TRY(reserve_text(g));
    }
    for (int64_t i = 0; i < g->num_active; i++) {
        const int64_t index = g->active[i];
        if (status == RLHF_OK && g->answers[index].pending >= 0)
            status = commit(g, &g->answers[index]);
        if (g->answers[index].finish == RLHF_FINISH_NONE)
            g->active[kept++] = index;
    }
    g->num_active = kept;
    if (status != RLHF_OK)
        return status;
    *out_left = kept + g->num_answers - g->next_waiting;
    if (left > 0 && *out_left == 0)
        rlhf__progress_end(g->context, "generate", g->num_answers);
    return RLHF_OK;
}
