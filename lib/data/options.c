/* The table of rlhf_dataset_options. */
#include "data/dataset.h"

static const rlhf__enum_name kind_names[] = {{"text", RLHF_DATASET_TEXT},
                                             {"completion", RLHF_DATASET_COMPLETION},
                                             {"preference", RLHF_DATASET_PREFERENCE},
                                             {"prompt", RLHF_DATASET_PROMPT},
                                             {NULL, 0}};
static const rlhf__enum_name overlong_names[] = {
    {"truncate", RLHF_OVERLONG_TRUNCATE}, {"drop", RLHF_OVERLONG_DROP}, {NULL, 0}};

#define FIELD(member) #member, .offset = offsetof(rlhf_dataset_options, member)
static const rlhf__field fields[] = {
    {FIELD(kind), .type = RLHF__FIELD_ENUM, .default_value = RLHF_DATASET_TEXT,
     .names = kind_names, .help = "what a row is"},
    {FIELD(max_length), .type = RLHF__FIELD_I32, .default_value = 512, .min = 2,
     .max = INT32_MAX, .help = "most tokens of a row, a prompt and its answer together"},
    {FIELD(overlong), .type = RLHF__FIELD_ENUM, .default_value = RLHF_OVERLONG_TRUNCATE,
     .names = overlong_names, .help = "what happens to longer rows"},
    {FIELD(add_bos), .type = RLHF__FIELD_BOOL, .default_value = 1,
     .help = "one BOS before each row, where the tokenizer has one"},
    {FIELD(add_eos), .type = RLHF__FIELD_BOOL, .default_value = 1,
     .help = "EOS after each text or completion, where the tokenizer has one"},
    {FIELD(shuffle), .type = RLHF__FIELD_BOOL, .default_value = 1,
     .help = "a fresh seeded order every epoch"},
    {FIELD(num_epochs), .type = RLHF__FIELD_I64, .min = 0, .max = 9007199254740992.0,
     .help = "passes before the stream ends; 0: for ever"},
    {FIELD(seed), .type = RLHF__FIELD_U64, .min = 0, .max = 18446744073709551615.0,
     .help = "of the order"},
};
#undef FIELD

const rlhf__struct_desc rlhf__dataset_options_desc = {
    "rlhf_dataset_options", sizeof(rlhf_dataset_options), sizeof(rlhf_dataset_options),
    fields, sizeof fields / sizeof fields[0]};
