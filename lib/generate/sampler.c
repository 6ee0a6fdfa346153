/* Picking a token. The plain softmax finds the place in the distribution, in double, of a
 * uniform keyed by (seed, sequence, position); the truncated ones take candidates off
 * a heap, best first, so that a large vocabulary is never sorted. */
#include "generate/sampler.h"

#include <fenv.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "autograd/tape.h"
#include "base/alloc.h"
#include "base/context.h"
#include "base/rng.h"
#include "base/size.h"
#include "kernels/kernels.h"

#define FIELD(member) #member, .offset = offsetof(rlhf_sampler_options, member)
static const rlhf__field sampler_fields[] = {
    {FIELD(temperature), .type = RLHF__FIELD_F64, .default_value = 1.0, .min = 0.0,
     .max = HUGE_VAL, .max_exclusive = true,
     .help = "tau of softmax(logits / tau); 0: greedy"},
    {FIELD(top_p), .type = RLHF__FIELD_F64, .default_value = 1.0, .min = 0.0, .max = 1.0,
     .min_exclusive = true,
     .help = "keep the likeliest tokens that together reach this probability; 1: off"},
    {FIELD(min_p), .type = RLHF__FIELD_F64, .min = 0.0, .max = 1.0,
     .help = "keep tokens with at least this share of the largest probability; 0: off"},
    {FIELD(top_k), .type = RLHF__FIELD_I32, .min = 0, .max = INT32_MAX,
     .help = "keep the k likeliest tokens; 0: off"},
    {FIELD(reserved), .type = RLHF__FIELD_I32, .help = "0"},
};
#undef FIELD

const rlhf__struct_desc rlhf__sampler_options_desc = {
    "rlhf_sampler_options", sizeof(rlhf_sampler_options), sizeof(rlhf_sampler_options),
    sampler_fields, sizeof sampler_fields / sizeof sampler_fields[0]};

static bool truncates(const rlhf_sampler_options *options)
{
    return options->top_k > 0 || options->top_p < 1.0 || options->min_p > 0.0;
}

rlhf_status rlhf__sampler_create(const rlhf_sampler_options *options,
                                 rlhf__sampler **out_sampler)
{
    rlhf__sampler *sampler = NULL;

    *out_sampler = NULL;
    RLHF__TRY(rlhf__alloc(NULL, 1, sizeof *sampler, RLHF_MEMORY_GENERAL, &sampler));
    sampler->options = *options;
    if (!truncates(options))
        sampler->softmax_temperature = options->temperature;
    *out_sampler = sampler;
    return RLHF_OK;
}

rlhf_status rlhf__sampler_create_custom(const rlhf_sampler_ops *ops, void *user_data,
                                        rlhf__sampler **out_sampler)
{
    rlhf_sampler_ops own;
    rlhf__sampler *sampler = NULL;

    *out_sampler = NULL;
    RLHF__TRY(
        rlhf__struct_copy_in(ops, sizeof own, sizeof own, &own, "rlhf_sampler_ops"));
    if (!own.sample)
        return rlhf__fail_arg("sample", "rlhf_sampler_ops.sample is NULL");
    if (!(own.softmax_temperature >= 0.0) || isinf(own.softmax_temperature))
        return rlhf__fail_arg("softmax_temperature",
                              "rlhf_sampler_ops.softmax_temperature must be >= 0, got %g",
                              own.softmax_temperature);
    RLHF__TRY(rlhf__alloc(NULL, 1, sizeof *sampler, RLHF_MEMORY_GENERAL, &sampler));
    sampler->ops = own;
    sampler->user_data = user_data;
    sampler->softmax_temperature = own.softmax_temperature;
    *out_sampler = sampler;
    return RLHF_OK;
}

void rlhf__sampler_free(rlhf__sampler *sampler)
{
    if (!sampler)
        return;
    if (sampler->ops.destroy)
        sampler->ops.destroy(sampler->user_data);
    rlhf__free(sampler);
}

rlhf_status rlhf__sampler_begin(const rlhf__sampler *sampler, int64_t sequence_id,
                                void **out_state)
{
    *out_state = NULL;
    if (!sampler->ops.begin)
        return RLHF_OK;
    fenv_t own;

    fegetenv(&own);
    const rlhf_status status =
        sampler->ops.begin(sampler->user_data, sequence_id, out_state);
    fesetenv(&own);
    if (status != RLHF_OK)
        return rlhf__fail(RLHF_ERR_CALLBACK,
                          "the sampler's begin failed with %d for sequence %" PRId64,
                          (int)status, sequence_id);
    return RLHF_OK;
}

void rlhf__sampler_end(const rlhf__sampler *sampler, void *state)
{
    fenv_t own;

    if (!sampler->ops.end)
        return;
    fegetenv(&own);
    sampler->ops.end(sampler->user_data, state);
    fesetenv(&own);
}

/* Four uniforms a position: the position counts in fours, so none is shared. */
double rlhf__draw_uniform(const rlhf__draw *draw, int32_t index)
{
    return rlhf__rng_uniform(
        draw->seed, rlhf__rng_stream(RLHF__RNG_SAMPLE, (uint64_t)draw->sequence_id),
        (uint64_t)draw->position * 4 + (uint64_t)index);
}

static rlhf_status fail_not_finite(const rlhf__draw *draw)
{
    return rlhf__fail(RLHF_ERR_NUMERIC,
                      "logits of sequence %" PRId64 " at position %" PRId64
                      " are not finite",
                      draw->sequence_id, draw->position);
}

/* A row's softmax, up to its divisor; 0 for masked tokens. */
typedef struct weights {
    const float *of; /* [vocab] */
    int64_t vocab;
    const double *sums; /* of RLHF__WEIGHTS_BLOCK each */
    double total;
} weights;

/* The first token with which the weights add up to more than u of their total: the block
 * first, then within it. Where rounding has the block end short of that, the next token
 * with a weight, or the last one. */
static int32_t draw_by_cdf(const weights *w, double u)
{
    const double wanted = u * w->total;
    double sum = 0.0;
    int64_t block = 0;
    int32_t last = -1;

    while ((block + 1) * RLHF__WEIGHTS_BLOCK < w->vocab && sum + w->sums[block] <= wanted)
        sum += w->sums[block++];
    for (int64_t v = block * RLHF__WEIGHTS_BLOCK; v < w->vocab; v++) {
        if (!(w->of[v] > 0.0f))
            continue;
        last = (int32_t)v;
        sum += (double)w->of[v];
        if (sum > wanted)
            break;
    }
    for (int64_t v = block * RLHF__WEIGHTS_BLOCK; last < 0 && v-- > 0;)
        if (w->of[v] > 0.0f)
            last = (int32_t)v;
    return last;
}

typedef struct candidate {
    float prob; /* but for the divisor */
    int32_t token;
} candidate;

/* Likelier first; the lower id of equals. */
static bool before(candidate a, candidate b)
{
    return a.prob > b.prob || (a.prob == b.prob && a.token < b.token);
}

static void sift_down(candidate *heap, int64_t count, int64_t i)
{
    for (;;) {
        int64_t best = i;
        for (int64_t child = 2 * i + 1; child <= 2 * i + 2 && child < count; child++)
            if (before(heap[child], heap[best]))
                best = child;
        if (best == i)
            return;
        const candidate moved = heap[i];
        heap[i] = heap[best];
        heap[best] = moved;
        i = best;
    }
}

/* Takes the best of heap[0..*count) off it. */
static candidate pop(candidate *heap, int64_t *count)
{
    const candidate best = heap[0];

    heap[0] = heap[--*count];
    sift_down(heap, *count, 0);
    return best;
}

/* Weights lie in (0, 1]; each bucket is an eighth of an octave of them. */
#define BUCKET_SHIFT 20
#define NUM_BUCKETS  ((0x3f800000 >> BUCKET_SHIFT) + 1)

static uint32_t bucket_of(float weight)
{
    uint32_t bits;

    memcpy(&bits, &weight, sizeof bits);
    return bits >> BUCKET_SHIFT;
}

static float bucket_begin(uint32_t bucket)
{
    const uint32_t bits = bucket << BUCKET_SHIFT;
    float weight;

    memcpy(&weight, &bits, sizeof weight);
    return weight;
}

/* No token with a weight below it stays: of most vocabularies that leaves few to sort.
 * The sums of buckets are rounded in another order than those that decide, so a billionth
 * more is asked of them. */
static float lowest_kept(const rlhf_sampler_options *options, const weights *w)
{
    int64_t counts[NUM_BUCKETS] = {0}, count = 0;
    double masses[NUM_BUCKETS] = {0}, mass = 0.0;
    const double wanted = options->top_p * w->total * (1.0 + 1e-9);
    uint32_t bucket = NUM_BUCKETS, largest = 0;

    for (int64_t v = 0; v < w->vocab; v++) {
        const uint32_t b = bucket_of(w->of[v]);
        counts[b]++;
        masses[b] += (double)w->of[v];
        largest = b > largest ? b : largest;
    }
    for (bool enough = false; bucket > 0 && !enough;) {
        bucket--;
        count += counts[bucket];
        mass += masses[bucket];
        enough = options->top_k > 0 ? count >= options->top_k
                                    : options->top_p < 1.0 && mass >= wanted;
    }
    if (options->top_k > 0) /* whose mass counts for top_p, min_p or not */
        return bucket_begin(bucket);
    return fmaxf(bucket_begin(bucket),
                 (float)(options->min_p * (double)bucket_begin(largest) * (1.0 - 1e-6)));
}

/* Moves the candidates that stay from the heap to kept[], best first: of the top_k,
 * the shortest run that reaches top_p of their mass, of that those with min_p of the
 * largest. At least one. total: all mass. */
static int64_t truncate(const rlhf_sampler_options *options, double total,
                        candidate *heap, int64_t count, candidate *kept)
{
    const int64_t limit =
        options->top_k > 0 ? rlhf__min_i64(options->top_k, count) : count;
    int64_t popped = 0, num = 0;
    double mass = options->top_k > 0 ? 0.0 : total, sum = 0.0;

    for (int64_t i = count / 2 - 1; i >= 0; i--)
        sift_down(heap, count, i);
    for (; options->top_k > 0 && popped < limit; popped++) {
        kept[popped] = pop(heap, &count);
        mass += (double)kept[popped].prob;
    }
    while (num < limit &&
           (num == 0 || options->top_p >= 1.0 || sum < options->top_p * mass)) {
        if (num >= popped)
            kept[popped++] = pop(heap, &count);
        if (num > 0 && (double)kept[num].prob < options->min_p * (double)kept[0].prob)
            break;
        sum += (double)kept[num++].prob;
    }
    return num;
}

/* heap[vocab] and kept[vocab] are scratch. */
static int32_t pick_truncated(const rlhf_sampler_options *options, const weights *w,
                              double u, candidate *heap, candidate *kept)
{
    const float lowest = lowest_kept(options, w);
    int64_t count = 0, num;
    double total = 0.0, sum = 0.0;
    int32_t token = -1;

    for (int64_t v = 0; v < w->vocab; v++)
        if (w->of[v] > 0.0f && w->of[v] >= lowest)
            heap[count++] = (candidate){w->of[v], (int32_t)v};
    num = truncate(options, w->total, heap, count, kept);
    for (int64_t i = 0; i < num; i++)
        total += (double)kept[i].prob;
    for (int64_t i = 0; i < num; i++) {
        token = kept[i].token;
        sum += (double)kept[i].prob;
        if (sum > u * total)
            break;
    }
    return token;
}

typedef struct pick_job {
    rlhf_context *context;
    const rlhf_sampler_options *options;
    const rlhf__draw *draws;
    const float *logits;
    int64_t vocab;
    float *weights;   /* [threads][vocab] */
    double *sums;     /* [threads][blocks] */
    candidate *heaps; /* [threads][2][vocab] */
    int32_t *tokens;  /* -1: nothing can be picked */
    rlhf__softmax *softmaxes;
} pick_job;

static int64_t num_blocks(int64_t vocab)
{
    return rlhf__ceil_div(vocab, RLHF__WEIGHTS_BLOCK);
}

static int32_t pick(const pick_job *job, int64_t row, int32_t thread)
{
    const int64_t vocab = job->vocab, blocks = num_blocks(vocab);
    const float *logits = job->logits + row * vocab;
    float *of = job->weights + thread * vocab;
    double *sums = job->sums + thread * blocks;
    weights w = {of, vocab, sums, 0.0};

    if (job->options->temperature == 0.0)
        return rlhf__argmax_row(job->context, logits, vocab);
    if (!rlhf__softmax_weights(job->context, logits, vocab,
                               rlhf__inv_tau(job->options->temperature),
                               RLHF__MASKED_LOGIT, of, sums, &job->softmaxes[row]))
        return -1;
    for (int64_t i = 0; i < blocks; i++)
        w.total += sums[i];
    if (!(w.total > 0.0) || !isfinite(w.total))
        return -1;
    const double u = rlhf__draw_uniform(&job->draws[row], 0);
    if (!job->heaps)
        return draw_by_cdf(&w, u);
    candidate *heap = job->heaps + 2 * thread * vocab;
    return pick_truncated(job->options, &w, u, heap, heap + vocab);
}

static void pick_row(void *arg, int64_t row, int32_t thread)
{
    const pick_job *job = arg;

    job->tokens[row] = pick(job, row, thread);
}

/* The library's own: rows are shared out to threads. */
static rlhf_status pick_own(rlhf_context *context, rlhf__arena *scratch,
                            const rlhf_sampler_options *options, const rlhf__draw *draws,
                            const float *logits, int64_t count, int64_t vocab,
                            int32_t *out_tokens, rlhf__softmax *out_softmaxes)
{
    const int64_t threads = rlhf__pool_num_threads(context->pool), size = threads * vocab;
    pick_job job = {.context = context,
                    .options = options,
                    .draws = draws,
                    .logits = logits,
                    .vocab = vocab,
                    .tokens = out_tokens,
                    .softmaxes = out_softmaxes};

    RLHF__TRY(rlhf__arena_alloc(scratch, size, sizeof *job.weights, &job.weights));
    RLHF__TRY(rlhf__arena_alloc(scratch, threads * num_blocks(vocab), sizeof *job.sums,
                                &job.sums));
    if (truncates(options) && options->temperature > 0.0)
        RLHF__TRY(rlhf__arena_alloc(scratch, 2 * size, sizeof *job.heaps, &job.heaps));
    rlhf__pool_run(context->pool, count, pick_row, &job);
    for (int64_t i = 0; i < count; i++)
        if (out_tokens[i] < 0)
            return fail_not_finite(&draws[i]);
    return RLHF_OK;
}

/* The host sees a masked token's logit as -infinity. */
static rlhf_status pick_custom(rlhf__arena *scratch, const rlhf__sampler *sampler,
                               void *state, const rlhf__draw *draw, const float *logits,
                               int64_t vocab, int32_t *out_token)
{
    rlhf_sample_info info = {sizeof info,      draw->sequence_id, draw->position,
                             draw->num_prompt, draw->tokens,      {0}};
    float *shown = NULL;
    int32_t token = -1;
    fenv_t own;

    for (int32_t i = 0; i < 4; i++)
        info.uniforms[i] = rlhf__draw_uniform(draw, i);
    RLHF__TRY(rlhf__arena_alloc(scratch, vocab, sizeof *shown, &shown));
    for (int64_t v = 0; v < vocab; v++)
        shown[v] = logits[v] > RLHF__MASKED_LOGIT ? logits[v] : -HUGE_VALF;
    fegetenv(&own);
    const rlhf_status status =
        sampler->ops.sample(sampler->user_data, state, &info, shown, vocab, &token);
    fesetenv(&own);
    if (status != RLHF_OK)
        return rlhf__fail(RLHF_ERR_CALLBACK,
                          "the sampler failed with %d for sequence %" PRId64
                          " at position %" PRId64,
                          (int)status, draw->sequence_id, draw->position);
    if (token < 0 || token >= vocab)
        return rlhf__fail(RLHF_ERR_CALLBACK,
                          "the sampler gave token %" PRId32 ", not in [0, %" PRId64 ")",
                          token, vocab);
    if (!(logits[token] > RLHF__MASKED_LOGIT))
        return rlhf__fail(RLHF_ERR_CALLBACK,
                          "the sampler gave token %" PRId32
                          ", whose logit is -infinity, for sequence %" PRId64,
                          token, draw->sequence_id);
    *out_token = token;
    return RLHF_OK;
}

rlhf_status rlhf__sampler_pick(rlhf_context *context, rlhf__arena *scratch,
                               const rlhf__sampler *sampler, void *const *states,
                               const rlhf__draw *draws, const float *logits,
                               int64_t count, int64_t vocab_size, int32_t *out_tokens,
                               rlhf__softmax *out_softmaxes)
{
    const rlhf__arena_mark mark = rlhf__arena_get_mark(scratch);
    rlhf_status status = RLHF_OK;

    for (int64_t i = 0; i < count; i++)
        out_softmaxes[i] = (rlhf__softmax){0};
    if (!sampler->ops.sample)
        status = pick_own(context, scratch, &sampler->options, draws, logits, count,
                          vocab_size, out_tokens, out_softmaxes);
    for (int64_t i = 0; sampler->ops.sample && i < count && status == RLHF_OK; i++)
        status = pick_custom(scratch, sampler, states[i], &draws[i],
                             logits + i * vocab_size, vocab_size, &out_tokens[i]);
    rlhf__arena_release(scratch, mark);
    return status;
}
