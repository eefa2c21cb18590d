#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace musher {

/// `Image/JPEG; q=1` → `image/jpeg`: without parameters, lower case.
std::string media_type(std::string_view header);

/// Of what can be `offered`, in the order of liking, what an Accept header asks for (RFC 9110,
/// 12.5.1: ranges, quality, the more specific range first). No header takes anything. Empty where
/// nothing fits.
std::optional<std::string_view> choose_media_type(std::string_view accept,
                                                  std::span<const std::string_view> offered);

}  // namespace musher
