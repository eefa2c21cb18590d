#include "coordinator/job_store_impl.h"

namespace musher {
namespace {

// Times are milliseconds since the epoch. Statuses are SageMaker's names, so that a person can read
// the file with sqlite3.
constexpr const char* kVersion1 = R"sql(
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  request TEXT NOT NULL,
  workers INTEGER,
  status TEXT NOT NULL,
  secondary TEXT NOT NULL,
  created INTEGER NOT NULL,
  modified INTEGER NOT NULL,
  training_start INTEGER,
  training_end INTEGER,
  ranks INTEGER NOT NULL,
  retries_left INTEGER NOT NULL,
  max_runtime INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  attempt_started INTEGER,
  ran INTEGER NOT NULL,
  stop INTEGER NOT NULL,
  kill_at INTEGER,
  killed INTEGER NOT NULL,
  failure TEXT NOT NULL,
  artifact TEXT NOT NULL,
  progress TEXT
);
CREATE INDEX jobs_created ON jobs (created, id);
CREATE TABLE transitions (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  number INTEGER NOT NULL,
  status TEXT NOT NULL,
  start INTEGER NOT NULL,
  "end" INTEGER,
  message TEXT NOT NULL,
  PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE finished (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  rank INTEGER NOT NULL,
  outcome INTEGER NOT NULL,
  PRIMARY KEY (job, rank)
) WITHOUT ROWID;
CREATE TABLE notices (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  time INTEGER NOT NULL,
  text TEXT NOT NULL,
  UNIQUE (job, time, text)
);
CREATE TABLE metrics (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  final INTEGER NOT NULL,
  name TEXT NOT NULL,
  step INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  time INTEGER NOT NULL,
  value REAL,
  PRIMARY KEY (job, final, name, step)
) WITHOUT ROWID;
CREATE TABLE epochs (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  attempt INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  samples INTEGER NOT NULL,
  sum INTEGER NOT NULL,
  undecodable_samples INTEGER NOT NULL,
  undecodable_sum INTEGER NOT NULL,
  PRIMARY KEY (job, attempt, epoch)
) WITHOUT ROWID;
CREATE TABLE attempts (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  attempt INTEGER NOT NULL,
  token TEXT NOT NULL,
  pid INTEGER NOT NULL,
  pid_start INTEGER NOT NULL,
  boot_id TEXT NOT NULL,
  started INTEGER NOT NULL,
  ended INTEGER,
  PRIMARY KEY (job, attempt)
) WITHOUT ROWID;
CREATE TABLE placements (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  attempt INTEGER NOT NULL,
  number INTEGER NOT NULL,
  host TEXT NOT NULL,
  slots INTEGER NOT NULL,
  PRIMARY KEY (job, attempt, number)
) WITHOUT ROWID;
CREATE TABLE generations (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  number INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE members (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  generation INTEGER NOT NULL,
  rank INTEGER NOT NULL,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  PRIMARY KEY (job, generation, rank)
) WITHOUT ROWID;
CREATE TABLE virtual_workers (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  generation INTEGER NOT NULL,
  virtual_worker INTEGER NOT NULL,
  rank INTEGER NOT NULL,
  PRIMARY KEY (job, generation, virtual_worker)
) WITHOUT ROWID;
CREATE TABLE slices (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  checkpoint TEXT NOT NULL,
  slice INTEGER NOT NULL,
  slices INTEGER NOT NULL,
  step INTEGER NOT NULL,
  key TEXT NOT NULL,
  size INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  header TEXT NOT NULL,
  PRIMARY KEY (job, checkpoint, slice)
) WITHOUT ROWID;
CREATE TABLE checkpoints (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  uri TEXT NOT NULL,
  step INTEGER NOT NULL,
  committed INTEGER NOT NULL,
  UNIQUE (job, uri)
);
)sql";

// Ranks that die, come and go while a job runs.
constexpr const char* kVersion2 = R"sql(
CREATE TABLE present (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  rank INTEGER NOT NULL,
  PRIMARY KEY (job, rank)
) WITHOUT ROWID;
CREATE TABLE lost (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  rank INTEGER NOT NULL,
  at INTEGER NOT NULL,
  what TEXT NOT NULL,
  seen INTEGER NOT NULL,
  PRIMARY KEY (job, rank)
) WITHOUT ROWID;
CREATE TABLE newcomers (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  attempt INTEGER NOT NULL,
  rank INTEGER NOT NULL,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  state INTEGER NOT NULL,
  spawn INTEGER NOT NULL,
  PRIMARY KEY (job, attempt, rank)
) WITHOUT ROWID;
ALTER TABLE generations ADD COLUMN told INTEGER NOT NULL DEFAULT 0;
)sql";

// Jobs on spot instances, and what interrupts an attempt.
constexpr const char* kVersion3 = R"sql(
ALTER TABLE jobs ADD COLUMN max_wait INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN interruption TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN spot_interruption INTEGER NOT NULL DEFAULT 0;
)sql";

// A submission that is sent again is known by its token.
constexpr const char* kVersion4 = R"sql(
ALTER TABLE jobs ADD COLUMN client_token TEXT;
CREATE UNIQUE INDEX jobs_client_token ON jobs (client_token) WHERE client_token IS NOT NULL;
)sql";

// How long a job may wait for its first start.
constexpr const char* kVersion5 = R"sql(
ALTER TABLE jobs ADD COLUMN max_pending INTEGER NOT NULL DEFAULT 0;
)sql";

// Whose turn it is in the queue.
constexpr const char* kVersion6 = R"sql(
ALTER TABLE jobs ADD COLUMN submitter TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
)sql";

// Listing reads nothing but an index, whichever way it sorts and filters: a row has the whole
// request.
constexpr const char* kVersion7 = R"sql(
DROP INDEX jobs_created;
CREATE INDEX jobs_created ON jobs (created, id, name, training_end, modified, status, secondary);
CREATE INDEX jobs_name ON jobs (name, id, created, training_end, modified, status, secondary);
CREATE INDEX jobs_status ON jobs (status, id, name, created, training_end, modified, secondary);
CREATE INDEX jobs_status_created ON jobs (status, created, id, name, training_end, modified,
                                          secondary);
)sql";

// Each takes the schema one version further.
constexpr const char* kVersions[] = {kVersion1, kVersion2, kVersion3, kVersion4,
                                     kVersion5, kVersion6, kVersion7};

}  // namespace

JobStore::Impl::Impl(const std::filesystem::path& folder)
    : lock(folder, "coordinator"), database(folder / "jobs.sqlite") {
  sqlite::bring_up_to_date(database, kVersions);
}

}  // namespace musher
