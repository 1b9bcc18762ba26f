/*
 * sqbench: SQLite workloads on any directory, for comparing file systems.
 *
 * usage: sqbench DIR SECONDS [WORKLOAD...]
 *
 * Runs each workload for SECONDS and prints a line for it:
 *
 *     NAME  OPS_PER_SECOND  P50_MICROSECONDS  P99_MICROSECONDS
 *
 * An operation is one statement, or one transaction of 100 statements where the
 * name says batch100. The data is pseudo-random and the same in every run.
 */
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SAMPLES = 4000000, BLOB_BYTES = 400, SMALL_ROWS = 20000, BIG_ROWS = 200000 };

/* What a statement is bound to. */
enum kind { SELECT_BY_ID, INSERT_ROW, UPDATE_BY_ID, SCAN };

struct workload {
  const char *name, *journal_mode, *synchronous;
  enum kind kind;
  int rows;  /* in the table before the measurement */
  int batch; /* statements in one transaction */
};

static const struct workload workloads[] = {
    {"read-wal", "wal", "normal", SELECT_BY_ID, SMALL_ROWS, 1},
    {"read-delete", "delete", "full", SELECT_BY_ID, SMALL_ROWS, 1},
    {"insert-wal-normal", "wal", "normal", INSERT_ROW, 0, 1},
    {"insert-wal-full", "wal", "full", INSERT_ROW, 0, 1},
    {"insert-delete-full", "delete", "full", INSERT_ROW, 0, 1},
    {"insert-truncate-full", "truncate", "full", INSERT_ROW, 0, 1},
    {"insert-persist-full", "persist", "full", INSERT_ROW, 0, 1},
    {"batch100-wal-normal", "wal", "normal", INSERT_ROW, 0, 100},
    {"batch100-delete-full", "delete", "full", INSERT_ROW, 0, 100},
    {"update-big-wal", "wal", "normal", UPDATE_BY_ID, BIG_ROWS, 1},
    {"scan-wal", "wal", "normal", SCAN, BIG_ROWS, 1},
};

static const char *const sql[] = {
    [SELECT_BY_ID] = "SELECT k, v FROM t WHERE id = ?1",
    [INSERT_ROW] = "INSERT INTO t (k, v) VALUES (?1, ?2)",
    [UPDATE_BY_ID] = "UPDATE t SET v = ?2 WHERE id = ?1",
    [SCAN] = "SELECT sum(length(v)) FROM t",
};

static uint32_t random_state = 12345;

static uint32_t next_random(void) {
  random_state = random_state * 1103515245u + 12345u;
  return random_state >> 8;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void check(sqlite3 *db, int ok, const char *what) {
  if (ok) return;
  fprintf(stderr, "sqbench: %s: %s (%d)\n", what, sqlite3_errmsg(db), sqlite3_extended_errcode(db));
  exit(1);
}

static void run(sqlite3 *db, const char *statement) {
  check(db, sqlite3_exec(db, statement, NULL, NULL, NULL) == SQLITE_OK, statement);
}

static void pragma(sqlite3 *db, const char *name, const char *value) {
  char statement[128];
  snprintf(statement, sizeof statement, "PRAGMA %s = %s", name, value);
  run(db, statement);
}

static void remove_database(const char *path) {
  static const char *const suffixes[] = {"", "-journal", "-wal", "-shm"};
  char name[4096];
  for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
    snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
    unlink(name); /* most of them do not exist */
  }
}

static sqlite3 *open_database(const char *path, const struct workload *w) {
  sqlite3 *db = NULL;
  char fill[256];
  check(db, sqlite3_open(path, &db) == SQLITE_OK, path);
  sqlite3_busy_timeout(db, 10000);
  pragma(db, "journal_mode", w->journal_mode);
  pragma(db, "synchronous", w->synchronous);
  run(db, "CREATE TABLE t (id INTEGER PRIMARY KEY, k INT, v BLOB)");
  if (w->rows == 0) return db;
  snprintf(fill, sizeof fill,
           "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < %d) "
           "INSERT INTO t SELECT i, i * 7919 %% 1000003, randomblob(%d) FROM c",
           w->rows, BLOB_BYTES);
  run(db, fill);
  if (w->kind == SCAN) run(db, "PRAGMA wal_checkpoint(TRUNCATE)");
  if (w->kind != UPDATE_BY_ID) run(db, "PRAGMA cache_size = 200"); /* so that pages are read from files */
  return db;
}

static void step(sqlite3 *db, sqlite3_stmt *statement, const struct workload *w) {
  uint32_t blob[BLOB_BYTES / 4];
  int result;
  if (w->kind == INSERT_ROW || w->kind == UPDATE_BY_ID) {
    for (size_t i = 0; i < sizeof blob / sizeof *blob; i++) blob[i] = next_random() * 2654435761u;
    sqlite3_bind_blob(statement, 2, blob, sizeof blob, SQLITE_STATIC);
  }
  if (w->kind != SCAN) sqlite3_bind_int(statement, 1, w->rows ? 1 + (int)(next_random() % (uint32_t)w->rows) : (int)next_random());
  while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
  }
  check(db, result == SQLITE_DONE, w->name);
  sqlite3_reset(statement);
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void measure(sqlite3 *db, const struct workload *w, double seconds) {
  double *samples = malloc(sizeof *samples * MAX_SAMPLES);
  sqlite3_stmt *statement;
  int n = 0;
  check(db, samples != NULL, "allocate memory for samples");
  check(db, sqlite3_prepare_v2(db, sql[w->kind], -1, &statement, NULL) == SQLITE_OK, sql[w->kind]);
  double start = now(), end = start;
  while (end - start < seconds && n < MAX_SAMPLES) {
    double begin = end;
    if (w->batch > 1) run(db, "BEGIN IMMEDIATE");
    for (int i = 0; i < w->batch; i++) step(db, statement, w);
    if (w->batch > 1) run(db, "COMMIT");
    end = now();
    samples[n++] = end - begin;
  }
  sqlite3_finalize(statement);
  qsort(samples, (size_t)n, sizeof *samples, ascending);
  printf("%-22s %10.0f %10.1f %10.1f\n", w->name, n / (end - start), samples[n / 2] * 1e6, samples[(int)(n * 0.99)] * 1e6);
  fflush(stdout);
  free(samples);
}

static int wanted(const char *name, int count, char **names) {
  for (int i = 0; i < count; i++)
    if (strcmp(name, names[i]) == 0) return 1;
  return count == 0;
}

int main(int argc, char **argv) {
  if (argc < 3 || atof(argv[2]) <= 0) {
    fprintf(stderr, "usage: sqbench DIR SECONDS [WORKLOAD...]\n");
    return 2;
  }
  char path[4096];
  snprintf(path, sizeof path, "%s/sqbench.db", argv[1]);
  for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++) {
    if (!wanted(workloads[i].name, argc - 3, argv + 3)) continue;
    remove_database(path);
    sqlite3 *db = open_database(path, &workloads[i]);
    measure(db, &workloads[i], atof(argv[2]));
    sqlite3_close(db);
    remove_database(path);
  }
  return 0;
}
