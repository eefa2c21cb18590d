#include "image/jpeg_image.h"

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
// clang-format off: jpeglib.h needs <cstdio>, jerror.h needs jpeglib.h, and neither includes it.
#include <jerror.h>
#include <jpeglib.h>
// clang-format on

#include "common/error.h"

namespace musher {

namespace {

/// libjpeg reports errors by a callback that must not return, so it is left by longjmp. Each
/// function here that calls setjmp returns false on an error and holds nothing that has a
/// destructor.
struct Escape {
  std::jmp_buf where;
  char message[JMSG_LENGTH_MAX] = "";
};

[[noreturn]] void leave(j_common_ptr info) {
  auto* escape = static_cast<Escape*>(info->client_data);
  info->err->format_message(info, escape->message);
  std::longjmp(escape->where, 1);
}

/// Whether a warning means that pixels are missing or wrong. libjpeg itself would make some up and
/// go on.
bool loses_pixels(int code) {
  switch (code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_MUST_RESYNC:
      return true;
    default:
      return false;
  }
}

void emit_message(j_common_ptr info, int level) {
  if (level < 0 && loses_pixels(info->err->msg_code)) leave(info);
}

/// Fancy upsampling looks at a pixel's neighbours, so the outermost columns of a cropped decode
/// differ from those of a whole one. They are decoded and not used.
constexpr int kMargin = 2;

constexpr int kExifMarker = JPEG_APP0 + 1;  ///< other data may be in one too

/// Adobe's CMYK is stored inverted, and so is nearly every CMYK JPEG; PIL and browsers take all of
/// them as such.
void from_inverted_cmyk(const std::uint8_t* cmyk, std::uint8_t* out, int width, int channels) {
  for (int x = 0; x < width; ++x, cmyk += 4, out += channels) {
    const auto ink = [&](int i) { return (cmyk[i] * cmyk[3] + 127) / 255; };
    if (channels == 1) {
      *out = grey_of(ink(0), ink(1), ink(2));
    } else {
      for (int c = 0; c < 3; ++c) out[c] = static_cast<std::uint8_t>(ink(c));
    }
  }
}

}  // namespace

struct JpegImage::State : Escape {
  jpeg_decompress_struct info{};
  jpeg_error_mgr manager{};

  State() {
    info.err = jpeg_std_error(&manager);
    manager.error_exit = leave;
    manager.emit_message = emit_message;
    info.client_data = static_cast<Escape*>(this);
  }
  ~State() { jpeg_destroy_decompress(&info); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  bool open(std::span<const std::byte> file);
  bool start(int channels, int denominator, const Rectangle& wanted, Pixels& shape);
  bool read_rows(Pixels& pixels, std::uint8_t* line);

  bool is_cmyk() const {
    return info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK;
  }
  [[noreturn]] void fail() const {
    throw Error(ErrorCode::kDataLoss, fmt::format("JPEG: {}", message));
  }
};

bool JpegImage::State::open(std::span<const std::byte> file) {
  if (setjmp(where) != 0) return false;
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(file.data()), file.size());
  jpeg_save_markers(&info, kExifMarker, 0xffff);
  jpeg_read_header(&info, TRUE);
  return true;
}

/// Starts decompression and sets everything of `shape` but its data.
bool JpegImage::State::start(int channels, int denominator, const Rectangle& wanted,
                             Pixels& shape) {
  if (setjmp(where) != 0) return false;
  info.out_color_space = is_cmyk() ? JCS_CMYK : channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  info.scale_num = 1;
  info.scale_denom = static_cast<unsigned>(denominator);
  jpeg_start_decompress(&info);

  JDIMENSION left = static_cast<JDIMENSION>(std::max(0, wanted.left - kMargin));
  JDIMENSION width =
      std::min(info.output_width, static_cast<JDIMENSION>(wanted.right + kMargin)) - left;
  if (width < info.output_width) jpeg_crop_scanline(&info, &left, &width);
  shape.left = static_cast<int>(left);
  shape.top = wanted.top;
  shape.width = static_cast<int>(width);
  shape.height = wanted.bottom - wanted.top;
  shape.channels = channels;
  return true;
}

/// `line` holds one row of CMYK; null when the rows come as they are wanted.
bool JpegImage::State::read_rows(Pixels& pixels, std::uint8_t* line) {
  if (setjmp(where) != 0) return false;
  const JDIMENSION top = static_cast<JDIMENSION>(pixels.top);
  if (top > 0) jpeg_skip_scanlines(&info, top);
  for (int y = 0; y < pixels.height; ++y) {
    JSAMPROW row = line != nullptr ? line : pixels.row(y);
    jpeg_read_scanlines(&info, &row, 1);
    if (line != nullptr) from_inverted_cmyk(line, pixels.row(y), pixels.width, pixels.channels);
  }
  // The rest is entropy-decoded too: whether a file is whole must not depend on which part of it is
  // wanted. Skipping right to the end would not look at the data, hence the last row is read.
  const JDIMENSION rest = info.output_height - info.output_scanline;
  if (rest > 1) jpeg_skip_scanlines(&info, rest - 1);
  if (rest > 0) {
    JSAMPARRAY last = (*info.mem->alloc_sarray)(reinterpret_cast<j_common_ptr>(&info), JPOOL_IMAGE,
                                                info.output_width * info.output_components, 1);
    jpeg_read_scanlines(&info, last, 1);
  }
  jpeg_finish_decompress(&info);
  return true;
}

JpegImage::JpegImage(std::span<const std::byte> file) : state_(std::make_unique<State>()) {
  if (!state_->open(file)) state_->fail();
}

JpegImage::~JpegImage() = default;

int JpegImage::width() const {
  return static_cast<int>(state_->info.image_width);
}
int JpegImage::height() const {
  return static_cast<int>(state_->info.image_height);
}

Orientation JpegImage::orientation() const {
  const std::string_view wanted("Exif\0\0", 6);
  for (const auto* marker = state_->info.marker_list; marker != nullptr; marker = marker->next) {
    const std::span data(reinterpret_cast<const std::byte*>(marker->data), marker->data_length);
    const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
    if (marker->marker == kExifMarker && text.starts_with(wanted)) return orientation_of_exif(data);
  }
  return {};
}

Pixels JpegImage::read(int channels, int denominator, Rectangle wanted) {
  Pixels pixels;
  if (!state_->start(channels, denominator, wanted, pixels)) state_->fail();
  pixels.data = std::make_unique_for_overwrite<std::uint8_t[]>(
      pixels.stride() * static_cast<std::size_t>(pixels.height));
  std::vector<std::uint8_t> line;
  if (state_->is_cmyk()) line.resize(static_cast<std::size_t>(pixels.width) * 4);
  if (!state_->read_rows(pixels, line.empty() ? nullptr : line.data())) state_->fail();
  return pixels;
}

}  // namespace musher
