#pragma once

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/log.h"
#include "common/thread.h"
#include "coordinator/endpoints/endpoint_hosts.h"
#include "coordinator/endpoints/endpoint_store.h"
#include "coordinator/endpoints/ping.h"
#include "coordinator/endpoints/plan.h"
#include "coordinator/endpoints/proxy.h"
#include "coordinator/hosts.h"
#include "coordinator/process.h"
#include "endpoints.pb.h"
#include "serving/scaling/invocation_meter.h"

namespace musher {

struct EndpointsOptions {
  std::filesystem::path folder;         ///< absolute; a folder in it for each endpoint
  std::string server;                   ///< path of musher-endpoint
  std::string haproxy;                  ///< path
  std::filesystem::path tls;            ///< the coordinator's TLS folder; empty: none
  std::string host;                     ///< what other machines know this one by
  int cores = 1;                        ///< of this machine
  std::filesystem::path hostfile = {};  ///< where instances run; empty: on this machine
  HostAccess access = {};               ///< to the other machines in it
  std::filesystem::path scratch = {};   ///< on each of them, for a folder of each instance
};

/// One endpoint in a thread of its own: looks at its processes some times a second, asks `advance`
/// what is next, stores that and carries it out. What runs is what the record says, whoever
/// started it: a coordinator that is started again goes on. Destroying it leaves the processes
/// alone. Thread-safe.
class EndpointController {
 public:
  /// `store`, which has the record, and `hosts` must outlive it.
  EndpointController(const EndpointsOptions& options, EndpointStore& store, EndpointHosts& hosts,
                     Logger logger, v1::EndpointRecord record);

  v1::EndpointRecord record();
  /// As `begin_update`, with what the endpoint has where `given` has nothing.
  void update(const v1::EndpointSettings& given);
  void remove();
  /// It was deleted, and all that belonged to it is gone.
  bool over();

 private:
  using Lock = std::unique_lock<std::mutex>;

  struct Cleaning {
    std::vector<v1::InstanceLeftover> leftovers;
    std::vector<HostAnswer> answers;  // in their order, once it is done
    std::atomic<bool> done = false;
  };

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
  InstanceSight look_at(v1::EndpointRecord& record, v1::EndpointInstance& instance,
                        const std::optional<ProxyStats>& stats);
  void carry_out(v1::EndpointRecord& record, const EndpointPlan& plan);
  void spawn(v1::EndpointRecord& record, int number);
  Process start_here(const v1::EndpointInstance& instance, const v1::EndpointSettings& settings);
  void tell(v1::ScalingActivity activity);

  void scale(v1::EndpointRecord& record, const std::optional<ProxyStats>& stats);
  void decide(v1::EndpointRecord& record, ScalingTime now);

  // Of other hosts, in controller_hosts.cpp.
  bool uses_hosts(const v1::EndpointRecord& record) const;
  std::string token();
  Process start_elsewhere(const v1::EndpointInstance& instance,
                          const v1::EndpointSettings& settings);
  nlohmann::json order_for(const v1::EndpointInstance& instance,
                           const v1::EndpointSettings& settings);
  void end_instance(const v1::EndpointInstance& instance, const Process& process, bool at_once);
  void see_end(v1::EndpointRecord& record, const v1::EndpointInstance& instance, bool watched,
               InstanceSight& sight);
  void renew_files(const v1::EndpointRecord& record);
  void clean_hosts(v1::EndpointRecord& record);
  void take_cleaned(v1::EndpointRecord& record);
  std::filesystem::path folder_on_host(int instance);
  std::filesystem::path control_of(int instance) const;

  std::filesystem::path log_of(int instance) const;

  const EndpointsOptions options_;
  EndpointStore& store_;
  EndpointHosts& hosts_;
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
  std::string token_;                       // that instances on other hosts want; empty: not read
  std::map<int, std::uint64_t> told_;       // a hash of the files that they were given
  std::int64_t told_ms_ = 0;                // when those were last looked at
  std::shared_ptr<Cleaning> cleaning_;      // hosts that are being asked to end what is left
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

  Thread cleaner_;
  Thread thread_;
};

}  // namespace musher
