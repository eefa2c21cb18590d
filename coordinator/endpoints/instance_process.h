#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/process.h"
#include "endpoints.pb.h"

namespace musher {

/// The command line of an instance. It takes a free port and says which in its log. `cores`: of
/// this machine, which as many instances as there may be share.
std::vector<std::string> instance_argv(const std::string& program, const std::string& endpoint_name,
                                       const v1::EndpointSettings& settings, int cores);

/// The same for another host: without what that adds, see coordinator/host_instance.h.
std::vector<std::string> host_instance_argv(const std::string& program,
                                            const std::string& endpoint_name,
                                            const v1::EndpointSettings& settings);

/// Whether a person chose how many threads an instance has.
bool has_threads(const v1::EndpointSettings& settings);

/// An IPv4 address and a port.
struct ListeningAt {
  std::string address;
  int port = 0;
  bool operator==(const ListeningAt&) const = default;
};

/// What musher-endpoint's log says of where it listens; absent: nothing yet.
std::optional<ListeningAt> listening_at(std::string_view log);

/// How an instance on another host ended.
struct HostEnd {
  bool said = false;  ///< by the host itself, and nothing of it is left there
  std::string words;  ///< for people
};

/// From the end of its log. Where the host said nothing the connection was lost.
HostEnd end_on_host(std::string_view log);

/// The last line of a log that says something, without its time; at most 500 characters.
std::string last_words(std::string_view log);

/// The beginning or the end of a file, at most `bytes`; "" where there is none.
std::string head_of(const std::filesystem::path& file, std::size_t bytes = 64 << 10);
std::string tail_of(const std::filesystem::path& file, std::size_t bytes = 4 << 10);

/// The processes of this machine whose stdout is `file`: so those of a coordinator that was killed
/// before it had stored them are found.
std::vector<Process> writers_of(const std::filesystem::path& file);

bool has_ended(const Process& process);

v1::ProcessId to_proto(const ProcessIdentity& identity);
ProcessIdentity from_proto(const v1::ProcessId& id);

}  // namespace musher
