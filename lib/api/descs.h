/* The descriptor table of every options struct, by name: for YAML (api/config.c), for the
 * bindings and for the reference page. */
#ifndef RLHF_API_DESCS_H
#define RLHF_API_DESCS_H

#include "base/versioned_struct.h"

/* Tables of structs that no lower layer reads. */
extern const rlhf__struct_desc rlhf__context_options_desc;         /* api/context.c */
extern const rlhf__struct_desc rlhf__tokenizer_train_options_desc; /* api/tokenizer.c */

/* NULL if no options struct has that name. `index` walks them all, NULL at the end. */
const rlhf__struct_desc *rlhf__desc_find(const char *struct_name);
const rlhf__struct_desc *rlhf__desc_at(int32_t index);

#endif
