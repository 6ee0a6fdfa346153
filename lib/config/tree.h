/* The tree that config.c parses and read.c reads. */
#ifndef RLHF_CONFIG_TREE_H
#define RLHF_CONFIG_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

typedef struct rlhf__config_node {
    struct rlhf__config_node *parent, *next, *first,
        *last;   /* children in the file's order */
    char *key;   /* NULL of the root */
    char *value; /* NULL of a mapping; without zero bytes inside */
    bool quoted; /* value was written as a string */
    bool was_read;
    int64_t key_line, key_column; /* from 1 */
    int64_t line, column;         /* of the value, from 1 */
} rlhf__config_node;

struct rlhf__config {
    rlhf_context *context;
    char *name; /* of the file */
    rlhf__config_node root;
    int64_t num_keys;
};

/* NULL if there is none. */
rlhf__config_node *rlhf__config_child(rlhf__config_node *node, const char *key,
                                      size_t size);
/* An unquoted "", "~" or "null". */
bool rlhf__config_is_null(const rlhf__config_node *node);

#endif
