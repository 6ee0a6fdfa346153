/* A host that links librlhf alone sees no symbol of a BLAS: neither by its name nor in a
 * library that came along. */
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#include <rlhf/rlhf.h>

static const char *const names[] = {
    "sgemm_",      "dgemm_",      "saxpy_",     "xerbla_",
    "cblas_sgemm", "cblas_dgemm", "bli_init",   "bli_gks_query_cntx",
    "bli_sgemm",   "bli_gemm",    "bli_malloc", "bli_sgemm_haswell_asm_6x16",
};

static int name_blas(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    if (strstr(info->dlpi_name, "blas") || strstr(info->dlpi_name, "blis")) {
        fprintf(stderr, "%s came along\n", info->dlpi_name);
        ++*(int *)data;
    }
    return 0;
}

int main(void)
{
    int found = 0;
    rlhf_context *context;

    if (rlhf_context_create(NULL, &context) != RLHF_OK)
        return 1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (dlsym(RTLD_DEFAULT, names[i])) {
            fprintf(stderr, "%s can be seen\n", names[i]);
            found++;
        }
    dl_iterate_phdr(name_blas, &found);
    /* What is looked for can be found: a function of ours, by the same means. */
    if (!dlsym(RTLD_DEFAULT, "rlhf_context_create"))
        found++;
    rlhf_context_free(context);
    return found != 0;
}
