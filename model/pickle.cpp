#include "model/pickle.h"

#include <bit>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

constexpr std::size_t kMostNodes = 4'000'000;  // of about 100 bytes

std::uint64_t little_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i > 0; --i)
    value = value << 8 | static_cast<unsigned char>(bytes[i - 1]);
  return value;
}

}  // namespace

/// The stack machine that a pickle is a program for.
class Pickle::Machine {
 public:
  Machine(Pickle& pickle, std::span<const std::byte> bytes, const std::string& name)
      : pickle_(pickle),
        bytes_(reinterpret_cast<const char*>(bytes.data()), bytes.size()),
        name_(name) {}

  void run() {
    while (true) {
      const char code = take(1)[0];
      if (code == '.') break;
      if (!value(code) && !container(code) && !call(code) && !memory(code)) {
        damaged(fmt::format("opcode 0x{:02x} at byte {} is not known",
                            static_cast<unsigned char>(code), at_ - 1));
      }
    }
    pickle_.root_ = pop();
    pickle_.size_ = at_;
  }

 private:
  [[noreturn]] void damaged(const std::string& why) const {
    throw Error(ErrorCode::kDataLoss, fmt::format("{} is not a whole pickle: {}", name_, why));
  }

  std::string_view take(std::uint64_t count) {
    if (count > bytes_.size() - at_) damaged(fmt::format("it ends at byte {}", bytes_.size()));
    const std::string_view part = bytes_.substr(at_, count);
    at_ += count;
    return part;
  }
  std::uint64_t number(std::size_t bytes) { return little_endian(take(bytes)); }
  std::string_view line() {
    const std::size_t end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) damaged("a line in it does not end");
    const std::string_view text = take(end - at_);
    take(1);
    return text;
  }

  Id push(Node node) {
    if (pickle_.nodes_.size() >= kMostNodes)
      damaged(fmt::format("it has more than {} parts", kMostNodes));
    pickle_.nodes_.push_back(std::move(node));
    stack_.push_back(static_cast<Id>(pickle_.nodes_.size() - 1));
    return stack_.back();
  }
  Id pop() {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) damaged("its stack runs empty");
    const Id id = stack_.back();
    stack_.pop_back();
    return id;
  }
  Id top() {
    const Id id = pop();
    stack_.push_back(id);
    return id;
  }
  std::vector<Id> pop_to_mark() {
    if (marks_.empty()) damaged("a mark is missing");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Id> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  std::vector<Id> pop_some(std::size_t count) {
    std::vector<Id> items(count);
    for (std::size_t i = count; i > 0; --i) items[i - 1] = pop();
    return items;
  }

  void push_text(std::string_view text, Kind kind = Kind::kText) {
    push({.kind = kind, .text = std::string(text)});
  }
  void push_integer(std::int64_t integer) { push({.kind = Kind::kInteger, .integer = integer}); }
  void push_long(std::string_view bytes) {
    if (bytes.size() > sizeof(std::int64_t)) return push_text(bytes, Kind::kBytes);
    const std::size_t missing = 8 * (sizeof(std::int64_t) - bytes.size());
    const std::uint64_t value = bytes.empty() ? 0 : little_endian(bytes) << missing;
    push_integer(bytes.empty() ? 0 : static_cast<std::int64_t>(value) >> missing);
  }
  void push_items(Kind kind, std::vector<Id> items) {
    push({.kind = kind, .text = {}, .items = std::move(items)});
  }

  // Each of the following does one group of opcodes; false: it is none of its own.

  bool value(char code) {
    switch (code) {
      case 'N':
        push({});
        return true;
      case '\x88':
      case '\x89':
        push_integer(code == '\x88' ? 1 : 0);
        return true;
      case 'J':
        push_integer(static_cast<std::int32_t>(number(4)));
        return true;
      case 'K':
        push_integer(static_cast<std::int64_t>(number(1)));
        return true;
      case 'M':
        push_integer(static_cast<std::int64_t>(number(2)));
        return true;
      case '\x8a':
        push_long(take(number(1)));
        return true;
      case '\x8b':
        push_long(take(number(4)));
        return true;
      case 'G': {
        std::uint64_t bits = 0;
        for (const char byte : take(8)) bits = bits << 8 | static_cast<unsigned char>(byte);
        push({.kind = Kind::kFloat, .real = std::bit_cast<double>(bits), .text = {}});
        return true;
      }
      case 'X':
      case 'T':
        push_text(take(number(4)));
        return true;
      case '\x8c':
      case 'U':
        push_text(take(number(1)));
        return true;
      case '\x8d':
        push_text(take(number(8)));
        return true;
      case 'C':
        push_text(take(number(1)), Kind::kBytes);
        return true;
      case 'B':
        push_text(take(number(4)), Kind::kBytes);
        return true;
      case '\x8e':
      case '\x96':
        push_text(take(number(8)), Kind::kBytes);
        return true;
      default:
        return false;
    }
  }

  /// Puts items into the list or dict at the top. What an object would do with them is not known.
  void extend(const std::vector<Id>& items, Kind kind) {
    Node& node = pickle_.nodes_[top()];
    if (kind == Kind::kDict && items.size() % 2 != 0) damaged("a dict has a key without a value");
    if (node.kind == kind) {
      node.items.insert(node.items.end(), items.begin(), items.end());
    } else if (node.kind != Kind::kObject) {
      damaged("items go into what is no list or dict");
    }
  }

  bool container(char code) {
    switch (code) {
      case '(':
        marks_.push_back(stack_.size());
        return true;
      case '}':
        push_items(Kind::kDict, {});
        return true;
      case ']':
      case '\x8f':
        push_items(Kind::kList, {});
        return true;
      case ')':
        push_items(Kind::kTuple, {});
        return true;
      case 'd': {
        auto items = pop_to_mark();
        push_items(Kind::kDict, {});
        extend(items, Kind::kDict);
        return true;
      }
      case 't':
        push_items(Kind::kTuple, pop_to_mark());
        return true;
      case 'l':
      case '\x91':
        push_items(Kind::kList, pop_to_mark());
        return true;
      case '\x85':
      case '\x86':
      case '\x87':
        push_items(Kind::kTuple, pop_some(static_cast<unsigned char>(code) - 0x84U));
        return true;
      case 's':
        extend(pop_some(2), Kind::kDict);
        return true;
      case 'u':
        extend(pop_to_mark(), Kind::kDict);
        return true;
      case 'a':
        extend(pop_some(1), Kind::kList);
        return true;
      case 'e':
      case '\x90':
        extend(pop_to_mark(), Kind::kList);
        return true;
      default:
        return false;
    }
  }

  void push_global(const std::string& module, const std::string& name) {
    push_text(module + "." + name, Kind::kGlobal);
  }

  bool call(char code) {
    switch (code) {
      case 'c': {
        const std::string module(line());
        push_global(module, std::string(line()));
        return true;
      }
      case '\x93': {
        const std::vector<Id> names = pop_some(2);
        push_global(pickle_.nodes_[names[0]].text, pickle_.nodes_[names[1]].text);
        return true;
      }
      case 'Q':
        push_items(Kind::kPersistent, pop_some(1));
        return true;
      case 'R':
      case '\x81':
        push_call(pop_some(2));
        return true;
      case '\x92': {
        const std::vector<Id> parts = pop_some(3);
        push_call({parts[0], parts[1]});
        return true;
      }
      case 'b':
        pop();  // attributes
        top();
        return true;
      default:
        return false;
    }
  }

  void push_call(const std::vector<Id>& parts) {
    const bool dict = pickle_.nodes_[parts[0]].text == "collections.OrderedDict" &&
                      pickle_.nodes_[parts[1]].items.empty();
    dict ? push_items(Kind::kDict, {}) : push_items(Kind::kObject, parts);
  }

  bool memory(char code) {
    switch (code) {
      case '\x80':
        take(1);  // the protocol
        return true;
      case '\x95':
        take(8);  // a frame
        return true;
      case 'q':
        memo_[number(1)] = top();
        return true;
      case 'r':
        memo_[number(4)] = top();
        return true;
      case '\x94':
        memo_[memo_.size()] = top();
        return true;
      case 'h':
        recall(number(1));
        return true;
      case 'j':
        recall(number(4));
        return true;
      case '0':
        pop();
        return true;
      case '1':
        pop_to_mark();
        return true;
      case '2':
        stack_.push_back(top());
        return true;
      default:
        return false;
    }
  }

  void recall(std::uint64_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) damaged(fmt::format("it recalls {}, which is not there", key));
    stack_.push_back(found->second);
  }

  Pickle& pickle_;
  std::string_view bytes_;
  const std::string& name_;
  std::size_t at_ = 0;
  std::vector<Id> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint64_t, Id> memo_;
};

Pickle::Pickle(std::span<const std::byte> bytes, const std::string& name) {
  Machine(*this, bytes, name).run();
}

const Pickle::Node* Pickle::find(const Node& dict, std::string_view key) const {
  if (dict.kind != Kind::kDict) return nullptr;
  for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const Node& candidate = node(dict.items[i]);
    if (candidate.kind == Kind::kText && candidate.text == key) return &node(dict.items[i + 1]);
  }
  return nullptr;
}

bool Pickle::is_call(const Node& object, std::string_view function) const {
  if (object.kind != Kind::kObject) return false;
  const Node& callee = node(object.items[0]);
  return callee.kind == Kind::kGlobal && callee.text == function;
}

const std::vector<Pickle::Id>* Pickle::arguments(const Node& object, std::size_t least) const {
  if (object.kind != Kind::kObject) return nullptr;
  const Node& tuple = node(object.items[1]);
  return tuple.kind == Kind::kTuple && tuple.items.size() >= least ? &tuple.items : nullptr;
}

}  // namespace musher
