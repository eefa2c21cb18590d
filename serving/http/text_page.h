#pragma once

#include <functional>
#include <string>

#include "serving/http/exchange.h"

namespace musher {

/// Answers `GET path` with what `text` says then, and everything else 404 or 405. `text` is called
/// on an I/O thread; what it throws becomes 500.
HttpHandler text_page(std::string path, std::string content_type,
                      std::function<std::string()> text);

}  // namespace musher
