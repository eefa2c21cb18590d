#pragma once

#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "common/log.h"
#include "common/thread.h"
#include "coordinator/endpoints/endpoint_store.h"
#include "coordinator/endpoints/plan.h"
#include "coordinator/endpoints/proxy.h"
#include "coordinator/process.h"
#include "endpoints.pb.h"
#include "serving/scaling/invocation_meter.h"

namespace musher {

struct EndpointsOptions {
  std::filesystem::path folder;  ///< absolute; a folder in it for each endpoint
  std::string server;            ///< path of musher-endpoint
  std::string haproxy;           ///< path
  std::filesystem::path tls;     ///< the coordinator's TLS folder; empty: none
  std::string host;              ///< what other machines know this one by
  int cores = 1;                 ///< of this machine
};

/// One endpoint in a thread of its own: looks at its processes some times a second, asks `advance`
/// what is next, stores that and carries it out. What runs is what the record says, whoever
/// started it: a coordinator that is started again goes on. Destroying it leaves the processes
/// alone. Thread-safe.
class EndpointController {
 public:
  /// `store` must outlive it, and has the record.
  EndpointController(const EndpointsOptions& options, EndpointStore& store, Logger logger,
                     v1::EndpointRecord record);

  v1::EndpointRecord record();
  /// As `begin_update`, with what the endpoint has where `given` has nothing.
  void update(const v1::EndpointSettings& given);
  void remove();
  /// It was deleted, and all that belonged to it is gone.
  bool over();

 private:
  using Lock = std::unique_lock<std::mutex>;

  void run(const std::stop_token& stop);
  void tick();
  void save(const v1::EndpointRecord& record);
  void publish(const v1::EndpointRecord& record);

  void adopt(v1::EndpointRecord& record);
  void watch_proxy(v1::EndpointRecord& record);
  ProxyOptions proxy_options(const v1::EndpointRecord& record);
  void renew_certificate(const v1::EndpointRecord& record);
  std::optional<ProxyStats> proxy_stats();
  void sync_proxy(const v1::EndpointRecord& record, const ProxyStats& stats);
  void end_proxy(const v1::EndpointRecord& record);

  Sights look(v1::EndpointRecord& record, const std::optional<ProxyStats>& stats);
  InstanceSight look_at(v1::EndpointInstance& instance, const std::optional<ProxyStats>& stats);
  void carry_out(v1::EndpointRecord& record, const EndpointPlan& plan);
  void spawn(v1::EndpointRecord& record, int number);
  void tell(v1::ScalingActivity activity);

  void scale(v1::EndpointRecord& record, const std::optional<ProxyStats>& stats);
  void decide(v1::EndpointRecord& record, ScalingTime now);

  std::filesystem::path log_of(int instance) const;

  const EndpointsOptions options_;
  EndpointStore& store_;
  const Logger logger_;
  const std::string name_;
  const std::filesystem::path folder_;

  std::mutex work_;  // held by whoever changes the record, which may take some seconds
  Proxy proxy_;
  bool adopted_ = false;
  std::int64_t proxy_started_ms_ = 0;
  std::int64_t certificate_ms_ = 0;         // when it was last looked at
  std::string certificate_;                 // what HAProxy has, with its key; empty: not known
  std::map<int, Process> processes_;        // of instances
  std::map<int, std::string> not_started_;  // instances that could not be, and why
  std::optional<InvocationMeter> meter_;
  std::chrono::milliseconds metered_{};   // the period of meter_
  std::optional<std::uint64_t> counted_;  // HAProxy's requests so far
  std::string not_scaled_;                // the last reason that was told
  std::string complaint_;                 // the last error that was logged

  std::mutex mutex_;  // of what follows; taken after work_
  std::condition_variable_any wake_;
  bool poked_ = false;
  bool over_ = false;
  v1::EndpointRecord record_;

  Thread thread_;
};

}  // namespace musher
