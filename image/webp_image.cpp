#include "image/webp_image.h"

#include <cstdint>
#include <string>

#include <fmt/format.h>
#include <webp/decode.h>
#include <webp/demux.h>

#include "common/error.h"

namespace musher {
namespace {

[[noreturn]] void fail(const std::string& why) {
  throw Error(ErrorCode::kDataLoss, "WebP: " + why);
}

const char* words(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY:
      return "out of memory";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "a feature that libwebp does not know";
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return "premature end of file";
    default:
      return "corrupt data";
  }
}

/// Alpha is left behind here.
Pixels decode_rgb(std::span<const std::uint8_t> data, int width, int height) {
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) {
    throw Error(ErrorCode::kInternal, "WebP: libwebp is another version than it was built with");
  }
  Pixels pixels = make_pixels(width, height, 3);
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA = {.rgba = pixels.data.get(),
                          .stride = static_cast<int>(pixels.stride()),
                          .size = pixels.stride() * static_cast<std::size_t>(height)};
  const VP8StatusCode status = WebPDecode(data.data(), data.size(), &config);
  WebPFreeDecBuffer(&config.output);
  if (status != VP8_STATUS_OK) fail(words(status));
  return pixels;
}

}  // namespace

struct WebpImage::State {
  WebPDemuxer* demuxer = nullptr;

  explicit State(std::span<const std::byte> file) {
    const WebPData data = {.bytes = reinterpret_cast<const std::uint8_t*>(file.data()),
                           .size = file.size()};
    WebPDemuxState parsed = WEBP_DEMUX_PARSE_ERROR;
    demuxer = WebPDemuxPartial(&data, &parsed);
    if (demuxer != nullptr && parsed == WEBP_DEMUX_DONE) return;
    WebPDemuxDelete(demuxer);
    fail(parsed == WEBP_DEMUX_PARSE_ERROR ? "broken header" : "premature end of file");
  }
  ~State() { WebPDemuxDelete(demuxer); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  int get(WebPFormatFeature feature) const {
    return static_cast<int>(WebPDemuxGetI(demuxer, feature));
  }
};

WebpImage::WebpImage(std::span<const std::byte> file) : state_(std::make_unique<State>(file)) {}
WebpImage::~WebpImage() = default;

int WebpImage::width() const {
  return state_->get(WEBP_FF_CANVAS_WIDTH);
}
int WebpImage::height() const {
  return state_->get(WEBP_FF_CANVAS_HEIGHT);
}

Orientation WebpImage::orientation() const {
  WebPChunkIterator chunk;
  Orientation result;
  if (WebPDemuxGetChunk(state_->demuxer, "EXIF", 1, &chunk) != 0) {
    result = orientation_of_exif(
        {reinterpret_cast<const std::byte*>(chunk.chunk.bytes), chunk.chunk.size});
  }
  WebPDemuxReleaseChunkIterator(&chunk);
  return result;
}

Pixels WebpImage::read(int channels, int, Rectangle) {
  WebPIterator frame;
  if (WebPDemuxGetFrame(state_->demuxer, 1, &frame) == 0) fail("no frame in it");
  const auto release = [](WebPIterator* it) { WebPDemuxReleaseIterator(it); };
  const std::unique_ptr<WebPIterator, decltype(release)> released(&frame, release);
  if (frame.complete == 0) fail("premature end of file");
  if (frame.width != width() || frame.height != height()) {
    fail(
        fmt::format("the first frame of the animation, {}x{}, is not as large as the picture, "
                    "{}x{}",
                    frame.width, frame.height, width(), height()));
  }
  Pixels pixels =
      decode_rgb({frame.fragment.bytes, frame.fragment.size}, frame.width, frame.height);
  return channels == 1 ? to_grey(pixels) : std::move(pixels);
}

}  // namespace musher
