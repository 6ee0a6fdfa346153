/* Numbers and text, whatever the host's locale. */
#include "base/number.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

rlhf__c_locale rlhf__c_locale_begin(void)
{
    rlhf__c_locale scope = {(locale_t)0, (locale_t)0};

    scope.made = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (scope.made != (locale_t)0)
        scope.previous = uselocale(scope.made);
    return scope;
}

void rlhf__c_locale_end(rlhf__c_locale scope)
{
    if (scope.made == (locale_t)0)
        return;
    uselocale(scope.previous);
    freelocale(scope.made);
}

bool rlhf__parse_i64(const char *text, int64_t *out)
{
    char *end;

    if (!(isdigit((unsigned char)text[0]) ||
          ((text[0] == '-' || text[0] == '+') && isdigit((unsigned char)text[1]))))
        return false;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || *end)
        return false;
    *out = value;
    return true;
}

bool rlhf__parse_u64(const char *text, uint64_t *out)
{
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || *end)
        return false;
    *out = value;
    return true;
}

bool rlhf__parse_f64(const char *text, double *out)
{
    char *end;

    if (!*text || text[strspn(text, "0123456789+-.eE")] != '\0')
        return false;
    rlhf__c_locale scope = rlhf__c_locale_begin();
    double value = strtod(text, &end);
    rlhf__c_locale_end(scope);
    if (end == text || *end || !isfinite(value))
        return false;
    *out = value;
    return true;
}

void rlhf__format_f64(double value, char out_text[32])
{
    rlhf__c_locale scope = rlhf__c_locale_begin();

    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out_text, 32, "%.*g", digits, value);
        if (strtod(out_text, NULL) == value)
            break;
    }
    rlhf__c_locale_end(scope);
}

bool rlhf__is_finite_float(double value)
{
    return isfinite((float)value);
}
