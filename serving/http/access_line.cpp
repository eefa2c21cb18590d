#include "serving/http/access_line.h"

#include <fmt/format.h>

namespace musher {
namespace {

double milliseconds(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

}  // namespace

std::string access_line(const AccessRecord& record, std::string_view behind) {
  std::string share;
  if (record.upstream_status != 0) {
    share = fmt::format(", {} {} in {:.2f} ms", behind, record.upstream_status,
                        milliseconds(record.upstream_time));
  }
  return fmt::format("access {} \"{} {}\" {} {} bytes {:.2f} ms{}, client {}", record.id,
                     record.method, record.target, record.status, record.bytes,
                     milliseconds(record.duration), share, record.peer);
}

}  // namespace musher
