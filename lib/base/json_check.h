/* JSON's grammar, checked without memory. */
#ifndef RLHF_BASE_JSON_CHECK_H
#define RLHF_BASE_JSON_CHECK_H

#include <stdbool.h>
#include <stdint.h>

/* The caller has bounded the nesting. UTF-8 is not looked at. */
bool rlhf__json_is_well_formed(const char *text, int64_t size);

#endif
