#include "image/png_image.h"

#include <csetjmp>
#include <cstring>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <png.h>

#include "common/error.h"

namespace musher {

/// libpng reports errors by a callback that must not return, so it is left by longjmp. Each
/// function here that calls setjmp returns false on an error and holds nothing that has a
/// destructor.
struct PngImage::State {
  std::jmp_buf where;
  char message[256] = "out of memory";
  std::span<const std::byte> rest;  ///< of the file
  png_structp png = nullptr;
  png_infop info = nullptr;

  State() = default;
  ~State() { png_destroy_read_struct(&png, &info, nullptr); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  bool open();
  bool start(int channels);
  bool read_rows(png_bytepp rows);

  [[noreturn]] void fail() const {
    throw Error(ErrorCode::kDataLoss, fmt::format("PNG: {}", message));
  }
};

namespace {

template <typename State>
[[noreturn]] void leave(png_structp png, png_const_charp message) {
  auto* state = static_cast<State*>(png_get_error_ptr(png));
  std::strncpy(state->message, message, sizeof state->message - 1);
  std::longjmp(state->where, 1);
}

void ignore_warning(png_structp, png_const_charp) {}

template <typename State>
void read_bytes(png_structp png, png_bytep out, std::size_t length) {
  auto* state = static_cast<State*>(png_get_io_ptr(png));
  if (length > state->rest.size()) png_error(png, "premature end of file");
  std::memcpy(out, state->rest.data(), length);
  state->rest = state->rest.subspan(length);
}

}  // namespace

bool PngImage::State::open() {
  if (setjmp(where) != 0) return false;
  png = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, leave<State>, ignore_warning);
  if (png == nullptr) return false;
  info = png_create_info_struct(png);
  if (info == nullptr) return false;
  png_set_read_fn(png, this, read_bytes<State>);
  png_read_info(png, info);
  return true;
}

/// Asks libpng for 8-bit grey or RGB rows. A colour picture comes as RGB even where grey is wanted.
bool PngImage::State::start(int channels) {
  if (setjmp(where) != 0) return false;
  const int type = png_get_color_type(png, info);
  if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
  if (type == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png, info) < 8) {
    png_set_expand_gray_1_2_4_to_8(png);
  }
  if (png_get_bit_depth(png, info) == 16) png_set_scale_16(png);
  png_set_strip_alpha(png);
  if (channels == 3 && (type & PNG_COLOR_MASK_COLOR) == 0) png_set_gray_to_rgb(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  return true;
}

bool PngImage::State::read_rows(png_bytepp rows) {
  if (setjmp(where) != 0) return false;
  png_read_image(png, rows);
  png_read_end(png, nullptr);
  return true;
}

PngImage::PngImage(std::span<const std::byte> file) : state_(std::make_unique<State>()) {
  state_->rest = file;
  if (!state_->open()) state_->fail();
}

PngImage::~PngImage() = default;

int PngImage::width() const {
  return static_cast<int>(png_get_image_width(state_->png, state_->info));
}
int PngImage::height() const {
  return static_cast<int>(png_get_image_height(state_->png, state_->info));
}

/// Of an eXIf chunk before the pixels, where all writers put it.
Orientation PngImage::orientation() const {
  png_uint_32 length = 0;
  png_bytep exif = nullptr;
  if (png_get_eXIf_1(state_->png, state_->info, &length, &exif) == 0) return {};
  return orientation_of_exif({reinterpret_cast<const std::byte*>(exif), length});
}

Pixels PngImage::read(int channels, int, Rectangle) {
  if (!state_->start(channels)) state_->fail();
  const int stored = png_get_channels(state_->png, state_->info);
  Pixels pixels = make_pixels(width(), height(), stored);
  if (png_get_rowbytes(state_->png, state_->info) != pixels.stride()) {
    throw Error(ErrorCode::kInternal, "PNG: libpng's rows are not as long as asked for");
  }
  std::vector<png_bytep> rows(static_cast<std::size_t>(pixels.height));
  for (int y = 0; y < pixels.height; ++y) rows[static_cast<std::size_t>(y)] = pixels.row(y);
  if (!state_->read_rows(rows.data())) state_->fail();
  return stored == 3 && channels == 1 ? to_grey(pixels) : std::move(pixels);
}

}  // namespace musher
