#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coordinator/job_store.h"
#include "training_job.pb.h"
#include "workers.pb.h"

namespace musher {

/// The machine that the coordinator runs on.
struct MachineInfo {
  std::string system;     ///< `Linux 6.1.0 x86_64`
  std::string processor;  ///< its name, where the kernel tells it
  int cores = 0;
  std::string mpi;  ///< path of mpirun; empty: ranks were started by hand
};
MachineInfo machine_info();

/// All that a job's report is made of.
struct ReportContents {
  v1::DescribeTrainingJobResponse job;
  std::vector<v1::Metric> metrics;       ///< by time
  std::vector<Notice> history;           ///< by time
  std::optional<Generation> generation;  ///< the newest
  std::uint64_t attempts = 0;
  MachineInfo machine;
  WallTime made;
};

/// One page of HTML that needs nothing else: no script, no network, charts as inline SVG. What
/// users and ranks have written is escaped; of the job's Environment only the names are shown.
/// Pure.
std::string report_html(const ReportContents& contents);

}  // namespace musher
