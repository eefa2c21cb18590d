#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "storage/object_store.h"

namespace musher::test {

/// A store of files below which every change goes through numbered points: before anything has
/// happened, half-way, and when it is done but not yet answered. `at` is called at each with its
/// number (from 1) and may throw or end the process.
class FaultStore : public ObjectStore {
 public:
  using At = std::function<void(int point, const std::string& what)>;

  FaultStore(ObjectStore& inner, At at) : inner_(inner), at_(std::move(at)) {}

  const Uri& root() const override { return inner_.root(); }
  void list(std::string_view prefix,
            const std::function<void(std::vector<ObjectInfo>)>& page) override {
    inner_.list(prefix, page);
  }
  ObjectInfo head(std::string_view key) override { return inner_.head(key); }
  std::vector<std::byte> read(std::string_view key) override { return inner_.read(key); }
  std::vector<std::byte> read(std::string_view key, std::uint64_t offset,
                              std::uint64_t length) override {
    return inner_.read(key, offset, length);
  }
  std::vector<std::string> folders(std::string_view prefix) override {
    return inner_.folders(prefix);
  }

  void put(std::string_view key, std::span<const std::byte> bytes) override {
    const auto upload = writer(key);
    upload->write(bytes);
    upload->commit();
  }

  std::unique_ptr<ObjectWriter> writer(std::string_view key) override {
    pass("begin " + std::string(key));
    return std::make_unique<Writer>(*this, std::string(key), inner_.writer(key));
  }

  void remove(std::string_view key) override {
    pass("remove " + std::string(key));
    inner_.remove(key);
    pass("removed " + std::string(key));
  }

  /// One object after the other, as no store removes a folder at once, and the last name first: a
  /// caller for whom the order matters must see to it.
  void remove_folder(std::string_view prefix) override {
    const auto objects = list_sorted(inner_, prefix);
    for (auto object = objects.rbegin(); object != objects.rend(); ++object) remove(object->key);
    inner_.remove_folder(prefix);
  }

  void remove_unfinished(std::string_view prefix) override { inner_.remove_unfinished(prefix); }

 private:
  class Writer : public ObjectWriter {
   public:
    Writer(FaultStore& store, std::string key, std::unique_ptr<ObjectWriter> inner)
        : store_(store), key_(std::move(key)), inner_(std::move(inner)) {}
    void write(std::span<const std::byte> bytes) override {
      const std::size_t half = bytes.size() / 2;
      inner_->write(bytes.first(half));
      store_.pass("half of a piece of " + key_);
      inner_->write(bytes.subspan(half));
    }
    void commit() override {
      store_.pass("commit " + key_);
      inner_->commit();
      store_.pass("committed " + key_);
    }

   private:
    FaultStore& store_;
    std::string key_;
    std::unique_ptr<ObjectWriter> inner_;
  };

  void pass(const std::string& what) { at_(++points_, what); }

  ObjectStore& inner_;
  At at_;
  int points_ = 0;
};

}  // namespace musher::test
