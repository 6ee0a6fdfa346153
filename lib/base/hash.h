/* SHA-256 (FIPS 180-4), for the checksums of saved state and of weights. */
#ifndef RLHF_BASE_HASH_H
#define RLHF_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rlhf__sha256 {
    uint32_t state[8];
    uint64_t size;
    uint8_t block[64];
    bool by_extension; /* of the CPU */
} rlhf__sha256;
void rlhf__sha256_init(rlhf__sha256 *hash);
void rlhf__sha256_update(rlhf__sha256 *hash, const void *data, size_t size);
void rlhf__sha256_hex(rlhf__sha256 *hash, char out_hex[65]);

#endif
