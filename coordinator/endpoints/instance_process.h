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

/// What musher-endpoint's log says of its port; absent: nothing yet.
std::optional<int> listening_port(std::string_view log);

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
