#pragma once

#include "monitoring/page.h"

namespace musher {

/// Adds what Prometheus' own clients tell of the process, under their names: `process_*`, memory,
/// processor time, descriptors, threads, start. What /proc does not say is left out.
/// https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics
void add_process_usage(MetricsPage& page);

}  // namespace musher
