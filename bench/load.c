/* From the start of the program to a model in memory.
 *
 *     load MODEL_DIR
 */
#include "bench.h"

int main(int argc, char **argv)
{
    double start = bench_now();
    rlhf_model *model;

    if (argc != 2) {
        fprintf(stderr, "usage: load MODEL_DIR\n");
        return 2;
    }
    rlhf_context *context = bench_context(false);
    double created = bench_now();
    bench_check(rlhf_model_load(context, argv[1], &model), "load");
    double end = bench_now();
    bench_times times = {.seconds = {end - start}, .count = 1};
    bench_work work = {.count = 0};
    /* Bytes of the file, which the system has in memory, copied once. */
    bench_add_phase(
        &work, (bench_phase){.copy_bytes = 2.0 * sizeof(float) *
                                           (double)rlhf_model_num_parameters(model)});
    bench_report(context, "load", argv[1], false, &work, &times,
                 "\"setup_seconds\": %.6f", created - start);
    rlhf_model_free(model);
    rlhf_context_free(context);
    return 0;
}
