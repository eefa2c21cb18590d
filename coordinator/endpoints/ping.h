#pragma once

#include <chrono>

namespace musher {

/// Whether the instance on this port of the loopback address is loaded and warmed up: GET /ping is
/// answered with 200 in time. By libcurl, without proxy or redirects.
bool answers_ping(int port, std::chrono::milliseconds timeout);

}  // namespace musher
