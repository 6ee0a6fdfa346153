#include "work.h"

#include "limits.h"

bench_limits bench_measure_limits(int level, int threads, bool bf16, double read_set)
{
    const size_t cold = bench_cold_bytes();
    double gflops = bf16 ? bench_bf16_gflops(threads, 0.1) : 0, read;

    if (gflops == 0)
        gflops = bench_fp32_gflops(level, threads, 0.1);
    read = bench_read_gb_per_s(threads, 0.2,
                               read_set < (double)cold ? (size_t)read_set : cold);
    return (bench_limits){gflops * 1e9, read * 1e9,
                          bench_copy_gb_per_s(threads, 0.2) * 1e9};
}

void bench_add_phase(bench_work *work, bench_phase phase)
{
    if (work->count < BENCH_MAX_PHASES)
        work->phases[work->count++] = phase;
}

double bench_limit_seconds(const bench_work *work, const bench_limits *limits)
{
    double sum = 0;

    for (int i = 0; i < work->count; i++) {
        const bench_phase *p = &work->phases[i];
        double arithmetic = p->flops / limits->flops;
        double memory =
            p->read_bytes / limits->read_bytes + p->copy_bytes / limits->copy_bytes;
        sum += arithmetic > memory ? arithmetic : memory;
    }
    return sum;
}

bench_phase bench_total(const bench_work *work)
{
    bench_phase total = {0};

    for (int i = 0; i < work->count; i++) {
        total.flops += work->phases[i].flops;
        total.read_bytes += work->phases[i].read_bytes;
        total.copy_bytes += work->phases[i].copy_bytes;
    }
    return total;
}

/* Weights of a layer's matrices for keys and values, and of its others. */
static double kv_weights(const rlhf_model_config *c)
{
    return 2.0 * c->hidden_size * c->num_kv_heads * c->head_dim;
}

static double other_weights(const rlhf_model_config *c)
{
    double d = c->hidden_size, q = (double)c->num_heads * c->head_dim;
    double mlp = c->intermediate_size;
    double up = c->activation == RLHF_ACTIVATION_SWIGLU ? 2 * mlp : mlp;

    return 2 * q * d + d * up + mlp * d;
}

static double layer_weights(const rlhf_model_config *c)
{
    return c->num_layers * (kv_weights(c) + other_weights(c));
}

static double head_weights(const rlhf_model_config *c)
{
    return (double)c->vocab_size * c->hidden_size;
}

/* Scores and their sums of `pairs` of a query and a key, in one layer. */
static double attention_flops(const rlhf_model_config *c, double pairs)
{
    return 4 * pairs * c->num_heads * c->head_dim;
}

/* Pairs of the last `queries` tokens of so many with what they see. */
static double pairs_seen(double length, double queries)
{
    return queries * (length - (queries - 1) / 2);
}

double bench_forward_flops(const rlhf_model_config *config, int64_t seqs, int64_t length,
                           int64_t wanted, bool head)
{
    double each = (double)length, last = (double)wanted;
    double whole = 2 * each * (kv_weights(config) + other_weights(config)) +
                   attention_flops(config, pairs_seen(each, each));
    double cut = 2 * each * kv_weights(config) + 2 * last * other_weights(config) +
                 attention_flops(config, pairs_seen(each, last));
    double logits = head ? 2 * last * head_weights(config) : 0;

    return (double)seqs * ((config->num_layers - 1) * whole + cut + logits);
}

void bench_add_prompt(bench_work *work, const rlhf_model_config *config, int64_t seqs,
                      int64_t prompt)
{
    bench_add_phase(
        work, (bench_phase){.flops = bench_forward_flops(config, seqs, prompt, 1, true)});
}

void bench_add_decode(bench_work *work, const rlhf_model_config *config, int64_t seqs,
                      int64_t prompt, int64_t count, int element)
{
    double steps = (double)count, batch = (double)seqs;
    double weights = layer_weights(config) + head_weights(config);
    double keys = batch * steps * ((double)prompt + (steps + 1) / 2);
    double kv = 2.0 * config->num_layers * config->num_kv_heads * config->head_dim;

    bench_add_phase(
        work, (bench_phase){.flops = 2 * steps * batch * weights +
                                     config->num_layers * attention_flops(config, keys),
                            .read_bytes = element * (steps * weights + keys * kv)});
    if (element * weights > work->read_set)
        work->read_set = element * weights;
}

void bench_add_update(bench_work *work, int64_t parameters, int64_t times)
{
    bench_add_phase(work, (bench_phase){.copy_bytes = 7.0 * sizeof(float) *
                                                      (double)(parameters * times)});
}
