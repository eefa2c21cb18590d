#include "coordinator/slurm_batch.h"

#include <array>
#include <memory>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <netdb.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include "common/error.h"
#include "coordinator/host_agent.h"
#include "coordinator/process.h"
#include "launch/mpirun.h"
#include "launch/network.h"
#include "rpc/tls.h"

namespace musher {

namespace {

using nlohmann::json;

/// This machine's address by which it reaches `host`; empty: it does not.
std::string address_towards(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* first = nullptr;
  if (::getaddrinfo(host.c_str(), "9", &hints, &first) != 0) return "";
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(first, &::freeaddrinfo);
  // Nothing is sent: the kernel only looks up the way.
  const FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket || ::connect(socket.get(), first->ai_addr, first->ai_addrlen) != 0) return "";
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  std::array<char, NI_MAXHOST> text{};
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &size) != 0 ||
      ::getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text.data(), text.size(), nullptr, 0,
                    NI_NUMERICHOST) != 0) {
    return "";
  }
  return text.data();
}

/// MPI and NCCL are kept to one network: a node has others that lead nowhere. The nodes of a
/// cluster are taken to be alike.
void choose_network(const SlurmBatchPlan& plan, std::vector<std::string>& argv,
                    std::map<std::string, std::string>& environment) {
  const HostNetwork here{this_machine(), own_interfaces(), address_towards(plan.coordinator)};
  const NetworkChoice choice = choose_network({here}, parse_network(plan.network));
  const std::string networks = fmt::format("{}", fmt::join(choice.networks, ","));
  argv.insert(argv.begin() + 1, {"--prtemca", "prte_if_include", networks, "--mca",
                                 "btl_tcp_if_include", networks, "-x", "NCCL_SOCKET_IFNAME"});
  // `=`: these very names, not all that begin so.
  environment["NCCL_SOCKET_IFNAME"] = fmt::format("={}", fmt::join(choice.interfaces, ","));
}

}  // namespace

std::string SlurmBatchPlan::text() const {
  return json{{"mpirun", mpirun},
              {"environment", environment},
              {"session", session},
              {"coordinator", coordinator},
              {"network", network}}
      .dump();
}

SlurmBatchPlan SlurmBatchPlan::parse(const std::string& text) try {
  const json plan = json::parse(text);
  return {plan.at("mpirun").get<std::vector<std::string>>(),
          plan.at("environment").get<std::map<std::string, std::string>>(),
          plan.at("session").get<std::string>(), plan.at("coordinator").get<std::string>(),
          plan.at("network").get<std::string>()};
} catch (const json::exception& error) {
  throw Error(ErrorCode::kInvalidArgument, std::string("attempt.json: ") + error.what());
}

void run_slurm_batch(const std::filesystem::path& folder, bool several) {
  SlurmBatchPlan plan = SlurmBatchPlan::parse(read_text_file(folder / "attempt.json"));
  SpawnOptions options;
  options.argv = plan.mpirun;
  options.environment = plan.environment;
  options.output = folder / "output";
  options.deaf_to_sigterm = true;  // it would end the ranks half a second later
  if (several) choose_network(plan, options.argv, options.environment);
  make_private_folder(plan.session);

  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  const FileDescriptor signals(::signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK));
  const Process mpirun = Process::spawn(options);
  const std::string token = folder / "token";
  for (;;) {
    std::array<pollfd, 2> events{{{mpirun.descriptor(), POLLIN, 0}, {signals.get(), POLLIN, 0}}};
    ::poll(events.data(), events.size(), -1);
    if (events[0].revents != 0) break;
    signalfd_siginfo dropped;
    if (::read(signals.get(), &dropped, sizeof dropped) != sizeof dropped) continue;
    signal_by_argument(token, SIGTERM, mpirun.identity().pid);
  }
  mpirun.reap();
  signal_by_argument(token, SIGKILL);
  std::error_code ignored;
  std::filesystem::remove_all(plan.session, ignored);
}

}  // namespace musher
