/* Numbers to and from text, the same in every locale. */
#ifndef RLHF_BASE_NUMBER_H
#define RLHF_BASE_NUMBER_H

#include <locale.h>
#include <stdbool.h>
#include <stdint.h>

/* The whole text must be the number; false otherwise or out of range. "inf"/"nan"
 * refused. */
bool rlhf__parse_i64(const char *text, int64_t *out);
bool rlhf__parse_u64(const char *text, uint64_t *out);
bool rlhf__parse_f64(const char *text, double *out);
/* Shortest text that reads back the same, at most 32 bytes with its zero. */
void rlhf__format_f64(double value, char out_text[32]);
/* Finite, and still so as the float that it becomes. */
bool rlhf__is_finite_float(double value);

/* The calling thread's locale is "C" between the two; both are cheap and never fail
 * loudly. */
typedef struct rlhf__c_locale {
    locale_t made, previous;
} rlhf__c_locale;
rlhf__c_locale rlhf__c_locale_begin(void);
void rlhf__c_locale_end(rlhf__c_locale scope);

#endif
