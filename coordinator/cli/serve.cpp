// musher serve

#include <cstdlib>
#include <iostream>

#include <fmt/format.h>

#include "common/checksum.h"
#include "common/loopback.h"
#include "coordinator/cli/access_options.h"
#include "coordinator/cli/daemon_options.h"
#include "coordinator/cli/fleet_file.h"
#include "coordinator/cli/metrics_listener.h"
#include "coordinator/cli/slurm_options.h"
#include "coordinator/endpoints/endpoints_service.h"
#include "coordinator/server.h"
#include "launch/mpirun.h"
#include "rpc/tls.h"

namespace musher::cli {

namespace {

namespace fs = std::filesystem;

/// As many ranks as Slurm may have at once, where nobody gives a number.
constexpr int kSlurmSlots = 100'000;

std::vector<HostSlots> hosts_of(const std::string& hostfile, std::optional<int> slots, bool slurm) {
  if (slurm && !hostfile.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "give --hosts or --launcher slurm, not both: Slurm chooses the hosts");
  }
  if (slurm) return {{"slurm", slots.value_or(kSlurmSlots)}};
  if (hostfile.empty()) return {{"localhost", slots.value_or(cores_of_this_machine())}};
  if (slots) throw Error(ErrorCode::kInvalidArgument, "give --hosts or --slots, not both");
  return read_hostfile(hostfile);
}

/// What ranks are told: `served`, which is HOST:PORT, at the host that others know.
std::string advertised(const std::string& served, std::string host) {
  const ListenAddress address = ListenAddress::parse(served);
  if (host.empty()) host = address.host == "0.0.0.0" ? this_machine() : address.host;
  return fmt::format("{}:{}", host, address.port);
}

/// Not below the state, which may be on another machine's disk and has a long name. The next
/// coordinator of the state finds the running mpiruns' there.
std::filesystem::path scratch_of(const std::string& state) {
  return std::filesystem::temp_directory_path() /
         ("musher-serve-" + hex64(hash64(std::filesystem::absolute(state).native())));
}

EndpointsOptions endpoints_of(const CoordinatorOptions& settings, const std::string& server,
                              const std::string& haproxy, const std::string& tls,
                              const std::string& host) {
  const fs::path beside = fs::read_symlink("/proc/self/exe").replace_filename("musher-endpoint");
  EndpointsOptions options;
  options.folder = settings.state / "endpoints";
  options.server = (server.empty() ? beside : fs::absolute(server)).string();
  options.haproxy = haproxy;
  options.cores = settings.cores;
  if (!tls.empty()) options.tls = fs::absolute(tls) / "server";
  options.host = host.empty() ? this_machine() : host;
  options.hostfile = settings.hostfile;
  options.access = settings.access;
  options.scratch = settings.scratch.parent_path();
  const std::string& store = settings.storage.s3_endpoint;
  if (!store.empty()) options.access.environment["AWS_ENDPOINT_URL"] = store;
  return options;
}

int run(const Command& command, const std::vector<std::string>& words) {
  std::string state;
  std::string listen = "127.0.0.1:7077";
  std::string advertise;
  std::string tls;
  std::string hostfile;
  std::string fleet_file;
  std::string metrics;
  std::optional<int> slots;
  std::string endpoint_server;
  std::string haproxy = "/usr/sbin/haproxy";
  double patience = 24 * 3600;
  DaemonOptions daemon;
  Options options(command);
  options.add("state", &state, "DIR", "where jobs, journal and logs are kept; needed");
  options.add("listen", &listen, "HOST:PORT",
              "an address of this machine, 0.0.0.0 for all; other than loopback it needs --tls "
              "(127.0.0.1:7077)");
  options.add("tls", &tls, "DIR",
              "the folder that `musher certs` made: whoever calls needs a certificate of it");
  options.add("advertise", &advertise, "HOST",
              "where ranks and callers of endpoints on other machines find this one (HOST of "
              "--listen; this machine's name "
              "where that is 0.0.0.0)");
  options.add("hosts", &hostfile, "HOSTFILE", "hosts and their slots, as mpirun reads them");
  options.add("fleet", &fleet_file, "FILE",
              "rent EC2 instances for each job that names their type, and return them at its end: "
              "options of `musher fleet up`, a line each, name = value (docs/aws.md)");
  options.add("slots", &slots, "N",
              "ranks that may run at once (the number of cores; in Slurm: as many as it takes)");
  options.add("patience", &patience, "SECONDS",
              "a job that has waited for so long goes before all others, whatever their priority "
              "(86400)");
  options.add("endpoint-server", &endpoint_server, "PATH",
              "the program of endpoints' instances (musher-endpoint beside musher)");
  options.add("haproxy", &haproxy, "PATH", "what is before them (/usr/sbin/haproxy)");
  options.add("metrics-listen", &metrics, "HOST:PORT",
              "a loopback address for GET /metrics, in Prometheus' form (none)");
  AccessOptions access;
  access.add_to(options);
  SlurmCommandOptions slurm;
  slurm.add_to(options);
  daemon.add_to(options);
  if (!options.parse(words)) return kOk;
  if (state.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "--state is missing; see musher serve --help");
  }

  block_stop_signals();
  const std::filesystem::path scratch = scratch_of(state);
  CoordinatorOptions settings = daemon.coordinator(state, scratch);
  settings.policy.patience = std::chrono::milliseconds(static_cast<std::int64_t>(1000 * patience));
  settings.slurm = slurm.checked(settings.state);
  settings.hosts = hosts_of(hostfile, slots, settings.slurm.has_value());
  settings.hostfile = hostfile;
  settings.access = access.checked(settings.mpirun);
  if (!fleet_file.empty()) {
    if (settings.slurm) {
      throw Error(ErrorCode::kInvalidArgument, "give --fleet or --launcher slurm, not both");
    }
    settings.rent = read_fleet_file(fleet_file, settings.state);
  }
  if ((settings.rent || any_remote(settings.hosts)) &&
      (tls.empty() || is_loopback(ListenAddress::parse(listen).host))) {
    throw Error(ErrorCode::kInvalidArgument,
                (settings.slurm  ? "--launcher slurm runs ranks on"
                 : settings.rent ? "--fleet rents"
                                 : "--hosts " + hostfile + " names") +
                    std::string(" other machines: their ranks need --tls DIR and a --listen "
                                "address that they reach"));
  }
  if (!tls.empty()) {
    settings.worker_tls = fs::absolute(tls) / "worker";
    check_tls_folder(settings.worker_tls);
  }
  const Logger logger = make_logger();
  const EndpointsOptions serving = endpoints_of(settings, endpoint_server, haproxy, tls, advertise);
  Coordinator coordinator(std::move(settings), logger);
  Endpoints endpoints(serving, logger);  // after the coordinator, whose the state folder is now
  EndpointsService endpoints_service(endpoints);
  const Server server(coordinator, listen, tls.empty() ? "" : tls / fs::path("coordinator"),
                      {&endpoints_service});
  std::optional<MetricsListener> metrics_listener;
  if (!metrics.empty()) {
    metrics_listener.emplace(metrics,
                             [&coordinator](MetricsPage& page) { coordinator.add_metrics(page); });
    logger->info("metrics on 127.0.0.1:{}", metrics_listener->port());
  }
  coordinator.start(advertised(server.address(), advertise));
  logger->info("coordinator on {}, state in {}", server.address(), state);
  while (wait_for_stop_signal(Deadline::after(std::chrono::hours(1))) == 0) {
  }
  logger->info("the coordinator ends; what runs goes on, and is taken up again at the next start");
  std::error_code in_use;
  std::filesystem::remove(scratch, in_use);
  if (coordinator.busy()) std::_Exit(kOk);  // a store that does not answer holds nobody up
  return kOk;
}

}  // namespace

const Command kServe = {
    "serve", "--state DIR",
    "Run the coordinator: queue, scheduler, assignment of shards, job store. Started again on the "
    "same state and address it takes up its jobs, running ones too.",
    run};

}  // namespace musher::cli
