#pragma once

#include <string>
#include <string_view>

#include "serving/http/server.h"

namespace musher {

/// A request's line of the access log:
///
///     access ID "METHOD TARGET" STATUS BYTES bytes TIME ms, BEHIND STATUS in TIME ms, client
///     IP:PORT
///
/// where BEHIND, such as `the model`, is told of what something behind the server answered alone.
std::string access_line(const AccessRecord& record, std::string_view behind = "upstream");

}  // namespace musher
