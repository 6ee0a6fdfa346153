/* What the demo found: on the terminal, as RESULT {json}, and as a page. */
#ifndef DEMO_REPORT_H
#define DEMO_REPORT_H

#include "measure.h"

typedef struct report {
    const char *mode;
    long seed;
    reward_quality reward;
    policy_quality policy;
    const answers *before, *after;
    double seconds, peak_rss_mib;
    int has_tilt; /* --real */
    policy_quality tilt;
    int has_controls; /* --control */
    policy_quality flipped, constant;
    double flipped_rise;
    agreement coin;
    int blind_after, blind_before, blind_ties; /* --human */
} report;

/* DIR/report.html, DIR/result.json. */
void report_write(const report *r);
/* To stdout; the last line is RESULT {json}. */
void report_print(const report *r);

#endif
