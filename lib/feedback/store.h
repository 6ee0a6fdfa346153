/* The open SQLite file: statements, transactions, and SQLite's errors in the library's
 * words. Private to this folder. */
#ifndef RLHF_FEEDBACK_STORE_H
#define RLHF_FEEDBACK_STORE_H

#include <sqlite3.h>
#include <stdbool.h>

#include "feedback/feedback.h"

/* Most bytes of a text and ids of a list; keeps SQLite's own allocations bounded. */
#define RLHF__FEEDBACK_TEXT_MAX (16 * 1024 * 1024)
#define RLHF__FEEDBACK_IDS_MAX  (4 * 1024 * 1024)

struct rlhf__feedback {
    rlhf_context *context;
    char *path;
    uint64_t seed;
    sqlite3 *db;
    void *row;          /* memory of the comparison handed out last */
    bool owes_rollback; /* one failed; see store.c */
};

/* The failure `rc` of SQLite as a status with words; SQLITE_OK is INTERNAL. */
rlhf_status rlhf__store_fail(rlhf__feedback *store, int rc);
/* FORMAT: of a comparison whose row no store of ours holds. The schema rules it out, but
 * another process may change that while the file is open. */
rlhf_status rlhf__store_damaged(const rlhf__feedback *store, int64_t id,
                                const char *words);
rlhf_status rlhf__store_exec(rlhf__feedback *store, const char *sql);
/* *out_statement is NULL on failure; the caller finalizes it. */
rlhf_status rlhf__store_prepare(rlhf__feedback *store, const char *sql,
                                sqlite3_stmt **out_statement);
/* *out_row: a row is there. */
rlhf_status rlhf__store_step(rlhf__feedback *store, sqlite3_stmt *statement,
                             bool *out_row);
/* First column of the first row; `fallback` where there is none or it is NULL. */
rlhf_status rlhf__store_integer(rlhf__feedback *store, const char *sql, int64_t fallback,
                                int64_t *out_value);
/* writes: takes the write lock. */
rlhf_status rlhf__store_begin(rlhf__feedback *store, bool writes);
/* Commits if `status` is OK, else rolls back; passes `status` on. */
rlhf_status rlhf__store_end(rlhf__feedback *store, rlhf_status status);

#endif
