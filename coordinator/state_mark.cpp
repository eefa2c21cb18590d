#include "coordinator/state_mark.h"

#include "coordinator/host_agent.h"
#include "coordinator/random_token.h"
#include "rpc/tls.h"

namespace musher {

std::string state_mark(const std::filesystem::path& file, std::size_t digits) {
  if (!std::filesystem::exists(file)) {
    write_private_file(file, random_token().substr(0, digits) + "\n");
  }
  return read_private_line(file, file.filename());
}

}  // namespace musher
