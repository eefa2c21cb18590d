#pragma once

#include <string>
#include <vector>

#include "rpc/certificates.h"

namespace musher {

/// As issue(), for a server of models or functions by HTTPS, which holds none of the roles: its
/// certificate's name is "musher-server", and it lets nobody into a coordinator, nor be one.
Identity issue_server(const Identity& authority, const Validity& validity,
                      const std::vector<std::string>& names);

}  // namespace musher
