/*
 * replbench: programs that work on a primary and look at its replica.
 *
 * usage: replbench fill DB MEGABYTES
 *        replbench insert DB SECONDS [PAUSE_US]
 *        replbench update DB SECONDS
 *        replbench latency PRIMARY_DB REPLICA_DB SECONDS [HOLD]
 *        replbench lag REPLICA_DB SECONDS
 *
 * fill     makes table t, of rows of 400 random bytes, and leaves WAL mode on.
 * insert   commits one row at a time, synchronous=NORMAL, PAUSE_US after each.
 * update   commits an update of one random row of t at a time.
 *          Both print commits a second, and how long a commit takes: median, 99th
 *          percentile and longest, in microseconds. With either, every 50 ms a commit
 *          sets the clock in table c.
 * latency  commits a row on the primary and begins read transactions on the replica
 *          until one sees it; prints the number of commits and the time from the end
 *          of the commit: median, 99th percentile and longest, in microseconds. With
 *          HOLD, another reader of the replica holds one transaction open meanwhile.
 * lag      reads the clock on the replica every 20 ms, and prints how old it is: in
 *          each half of the time the median and the most, in milliseconds.
 */
#include <signal.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BLOB_BYTES = 400, MAX_SAMPLES = 8000000, CLOCK_US = 50000, LAG_US = 20000, POLL_US = 20, LATENCY_US = 2000 };

static double *samples;
static int count;
static volatile sig_atomic_t stopped; /* SIGTERM ends insert and update early */

static void stop(int signal) { stopped = signal; }

static int64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void rest(int64_t us) {
  struct timespec t = {us / 1000000, us % 1000000 * 1000};
  nanosleep(&t, NULL);
}

static void check(sqlite3 *db, int ok, const char *what) {
  if (ok) return;
  fprintf(stderr, "replbench: %s: %s (%d)\n", what, sqlite3_errmsg(db), sqlite3_extended_errcode(db));
  exit(1);
}

static void run(sqlite3 *db, const char *sql) { check(db, sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, sql); }

static sqlite3 *open_database(const char *path) {
  sqlite3 *db = NULL;
  check(db, sqlite3_open(path, &db) == SQLITE_OK, path);
  sqlite3_busy_timeout(db, 10000);
  run(db, "PRAGMA synchronous = NORMAL");
  return db;
}

static sqlite3 *open_primary(const char *path) {
  sqlite3 *db = open_database(path);
  run(db, "PRAGMA journal_mode = WAL");
  run(db, "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v BLOB)");
  run(db, "CREATE TABLE IF NOT EXISTS c (id INTEGER PRIMARY KEY, us INT)");
  run(db, "INSERT OR IGNORE INTO c VALUES (1, 0)");
  return db;
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql) {
  sqlite3_stmt *statement;
  check(db, sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK, sql);
  return statement;
}

/* Runs a statement and returns the first column of its last row. */
static int64_t step(sqlite3 *db, sqlite3_stmt *statement) {
  int64_t value = 0;
  int result;
  while ((result = sqlite3_step(statement)) == SQLITE_ROW) value = sqlite3_column_int64(statement, 0);
  check(db, result == SQLITE_DONE, sqlite3_sql(statement));
  sqlite3_reset(statement);
  return value;
}

static void sample(double value) {
  if (count < MAX_SAMPLES) samples[count++] = value;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void print_samples(const char *unit) {
  if (count == 0) {
    fprintf(stderr, "replbench: nothing was measured\n");
    exit(1);
  }
  qsort(samples, (size_t)count, sizeof *samples, ascending);
  printf("p50 %.0f p99 %.0f max %.0f %s", samples[count / 2], samples[(int)(count * 0.99)], samples[count - 1], unit);
  count = 0;
}

static void fill(const char *path, int megabytes) {
  sqlite3 *db = open_primary(path);
  char sql[256];
  int rows = megabytes * 2300; /* pages of 4096 bytes hold nine */
  for (int done = 0; done < rows; done += 20000) {
    snprintf(sql, sizeof sql,
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT %d) "
             "INSERT INTO t (v) SELECT randomblob(%d) FROM n",
             rows - done < 20000 ? rows - done : 20000, BLOB_BYTES);
    run(db, sql);
  }
  sqlite3_close(db);
}

static void write_rows(const char *path, double seconds, int update, int64_t pause_us) {
  sqlite3 *db = open_primary(path);
  sqlite3_stmt *max = prepare(db, "SELECT max(id) FROM t");
  sqlite3_stmt *write = prepare(db, update ? "UPDATE t SET v = randomblob(400) WHERE id = ?1" : "INSERT INTO t (v) VALUES (randomblob(400))");
  sqlite3_stmt *clock = prepare(db, "UPDATE c SET us = ?1");
  int64_t rows = step(db, max), start = now_us(), end = start, ticked = 0;
  uint64_t random = 12345;
  while (end - start < seconds * 1e6 && !stopped) {
    int64_t begin = now_us();
    if (begin - ticked >= CLOCK_US) {
      sqlite3_bind_int64(clock, 1, begin);
      step(db, clock);
      ticked = begin = now_us();
    }
    random = random * 6364136223846793005u + 1442695040888963407u;
    if (update) sqlite3_bind_int64(write, 1, 1 + (int64_t)((random >> 33) % (uint64_t)(rows > 0 ? rows : 1)));
    step(db, write);
    end = now_us();
    sample((double)(end - begin));
    if (pause_us > 0) rest(pause_us);
  }
  printf("%.0f commits/s, ", count / ((double)(end - start) / 1e6));
  print_samples("us\n");
  sqlite3_finalize(max);
  sqlite3_finalize(write);
  sqlite3_finalize(clock);
  sqlite3_close(db);
}

static void latency(const char *primary, const char *replica, double seconds, int hold) {
  sqlite3 *writer = open_primary(primary), *reader = NULL, *holder = NULL;
  sqlite3_stmt *write = prepare(writer, "INSERT INTO t (v) VALUES (randomblob(400))");
  rest(1000000); /* until the replica has the tables */
  reader = open_database(replica);
  if (hold) {
    holder = open_database(replica);
    run(holder, "BEGIN; SELECT count(*) FROM c");
  }
  sqlite3_stmt *read = prepare(reader, "SELECT max(id) FROM t");
  for (int64_t start = now_us(); now_us() - start < seconds * 1e6;) {
    step(writer, write);
    int64_t want = sqlite3_last_insert_rowid(writer), committed = now_us();
    while (step(reader, read) < want) {
      rest(POLL_US);
      check(reader, now_us() - committed < 60000000, "wait for the replica");
    }
    sample((double)(now_us() - committed));
    rest(LATENCY_US);
  }
  printf("%d commits, ", count);
  print_samples("us\n");
}

static void lag(const char *replica, double seconds) {
  sqlite3 *db = open_database(replica);
  sqlite3_stmt *read = prepare(db, "SELECT us FROM c");
  for (int half = 0; half < 2; half++) {
    for (int64_t start = now_us(); now_us() - start < seconds * 5e5; rest(LAG_US)) {
      int64_t at = step(db, read);
      if (at > 0) sample((double)(now_us() - at) / 1000);
    }
    print_samples(half == 0 ? "ms, then " : "ms\n");
  }
}

int main(int argc, char **argv) {
  samples = malloc(sizeof *samples * MAX_SAMPLES);
  if (samples == NULL) return 1;
  signal(SIGTERM, stop);
  if (argc == 4 && strcmp(argv[1], "fill") == 0) {
    fill(argv[2], atoi(argv[3]));
  } else if (argc >= 4 && argc <= 5 && (strcmp(argv[1], "insert") == 0 || strcmp(argv[1], "update") == 0)) {
    write_rows(argv[2], atof(argv[3]), argv[1][0] == 'u', argc == 5 ? atoll(argv[4]) : 0);
  } else if (argc >= 5 && argc <= 6 && strcmp(argv[1], "latency") == 0) {
    latency(argv[2], argv[3], atof(argv[4]), argc == 6);
  } else if (argc == 4 && strcmp(argv[1], "lag") == 0) {
    lag(argv[2], atof(argv[3]));
  } else {
    fprintf(stderr, "usage: replbench fill|insert|update|latency|lag DB ...\n");
    return 2;
  }
  return 0;
}
