#include "image/encoded_image.h"

#include <cstdint>
#include <string_view>

#include <fmt/format.h>

#include "common/error.h"
#include "image/jpeg_image.h"
#include "image/png_image.h"
#include "image/webp_image.h"

namespace musher {
namespace {

std::unique_ptr<EncodedImage> open_by_first_bytes(std::span<const std::byte> file) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (text.starts_with("\xff\xd8\xff")) return std::make_unique<JpegImage>(file);
  if (text.starts_with("\x89PNG\r\n\x1a\n")) return std::make_unique<PngImage>(file);
  if (text.starts_with("RIFF") && text.substr(0, 12).ends_with("WEBP")) {
    return std::make_unique<WebpImage>(file);
  }
  throw Error(ErrorCode::kDataLoss, "neither JPEG nor PNG nor WebP by its first bytes");
}

}  // namespace

std::unique_ptr<EncodedImage> open_image(std::span<const std::byte> file, std::int64_t max_pixels) {
  std::unique_ptr<EncodedImage> image = open_by_first_bytes(file);
  if (std::int64_t{image->width()} * image->height() > max_pixels) {
    throw Error(ErrorCode::kDataLoss, fmt::format("{}x{} pixels are more than the limit of {}",
                                                  image->width(), image->height(), max_pixels));
  }
  return image;
}

}  // namespace musher
