#include "trainer/input/token_samples.h"

#include "dataset/tokens.h"

namespace musher {
namespace {

class TokenSamples final : public SampleDecoder {
 public:
  TokenSamples(std::int64_t context, std::int64_t vocabulary)
      : context_(context), vocabulary_(vocabulary) {}

  std::vector<std::int64_t> input_shape() const override { return {context_ + 1}; }

  void decode(const Sample& sample, std::span<const std::byte> bytes, std::uint64_t,
              float* out) const override {
    read_tokens(bytes, static_cast<NumberType>(sample.label), vocabulary_,
                {out, static_cast<std::size_t>(context_ + 1)});
  }

 private:
  std::int64_t context_;
  std::int64_t vocabulary_;
};

}  // namespace

std::unique_ptr<SampleDecoder> make_token_decoder(std::int64_t context, std::int64_t vocabulary) {
  return std::make_unique<TokenSamples>(context, vocabulary);
}

}  // namespace musher
