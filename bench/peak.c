/* What the machine can do: multiply-adds and memory, on one thread and on all of them
 * that the other benchmarks use, at the level that they use.
 *
 *     peak
 */
#include "bench.h"
#include "limits.h"

#define SECONDS 0.4 /* a figure */

int main(int argc, char **argv)
{
    (void)argv;
    if (argc != 1) {
        fprintf(stderr, "usage: peak\n");
        return 2;
    }
    rlhf_context *context = bench_context(false);
    const int level = rlhf_context_cpu_level(context);
    const int threads = rlhf_context_num_threads(context);
    rlhf_context_free(context);

    double fp32_1 = bench_fp32_gflops(level, 1, SECONDS);
    double fp32 = bench_fp32_gflops(level, threads, SECONDS);
    double bf16_1 = bench_bf16_gflops(1, SECONDS);
    double bf16 = bench_bf16_gflops(threads, SECONDS);
    double read_1 = bench_read_gb_per_s(1, SECONDS, 0);
    double read = bench_read_gb_per_s(threads, SECONDS, 0);
    double copy_1 = bench_copy_gb_per_s(1, SECONDS);
    double copy = bench_copy_gb_per_s(threads, SECONDS);
    printf("{\"peer\": \"librlhf\", \"bench\": \"peak\", \"level\": \"%s\", "
           "\"threads\": %d, \"fp32_gflops_1\": %.1f, \"fp32_gflops\": %.1f, ",
           bench_level_name(level), threads, fp32_1, fp32);
    if (bf16 > 0)
        printf("\"bf16_gflops_1\": %.1f, \"bf16_gflops\": %.1f, \"bf16_by\": \"%s\", ",
               bf16_1, bf16, bench_bf16_by());
    else
        printf("\"bf16_gflops_1\": null, \"bf16_gflops\": null, "
               "\"bf16\": \"this CPU has no AVX512-BF16\", ");
    printf("\"read_gb_per_s_1\": %.1f, \"read_gb_per_s\": %.1f, "
           "\"copy_gb_per_s_1\": %.1f, \"copy_gb_per_s\": %.1f}\n",
           read_1, read, copy_1, copy);
    return 0;
}
