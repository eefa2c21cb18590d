#include "coordinator/endpoints/endpoint_hosts.h"

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/temporary_folder.h"
#include "support/expect_error.h"

namespace musher {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

class Hostfile : public testing::Test {
 protected:
  void write(const std::string& text) {
    std::ofstream(file_) << text;
    // Two writes within a tick of the file system's clock look alike.
    std::filesystem::last_write_time(
        file_, std::filesystem::file_time_type() + std::chrono::seconds(++written_));
  }
  std::vector<std::string> names(EndpointHosts& hosts) {
    std::vector<std::string> names;
    for (const HostSlots& host : hosts.hosts()) names.push_back(host.host);
    return names;
  }

  TemporaryFolder folder_{"musher-test"};
  std::filesystem::path file_ = folder_.path() / "hosts";
  int written_ = 0;
};

TEST_F(Hostfile, IsReadAgainAndOneThatIsWrongChangesNothing) {
  write("h1 slots=1\n");
  EndpointHosts hosts(file_, true, make_logger());
  EXPECT_THAT(names(hosts), ElementsAre("h1"));
  write("h1 slots=1\nh2 slots=2\n");
  EXPECT_THAT(names(hosts), ElementsAre("h1", "h2"));
  write("h1 slots=1\nh1 slots=2\n");
  EXPECT_THAT(names(hosts), ElementsAre("h1", "h2"));
  EndpointHosts nowhere("", true, make_logger());
  EXPECT_THAT(names(nowhere), IsEmpty());
}

TEST_F(Hostfile, OtherMachinesAreTakenUpOnlyWithCertificates) {
  write("localhost slots=1\n");
  EndpointHosts hosts(file_, false, make_logger());
  write("h1 slots=1\n");
  EXPECT_THAT(names(hosts), ElementsAre("localhost"));
}

TEST_F(Hostfile, AHostThatIsLostIsTriedAgainAfterAMinuteOrWhenTheFileChanges) {
  write("h1 slots=1\n");
  EndpointHosts hosts(file_, true, make_logger());
  hosts.lose("h1", "no route", 1'000);
  EXPECT_THAT(hosts.places_for("dogs", 60'999).lost, ElementsAre(Pair("h1", "no route")));
  EXPECT_THAT(hosts.places_for("dogs", 61'000).lost, IsEmpty());
  hosts.lose("h1", "no route", 1'000);
  write("h1 slots=2\n");
  EXPECT_THAT(hosts.places_for("dogs", 1'001).lost, IsEmpty());
}

TEST_F(Hostfile, AnEndpointSeesWhatTheOthersHave) {
  write("h1 slots=1\n");
  EndpointHosts hosts(file_, true, make_logger());
  v1::EndpointRecord cats;
  cats.set_name("cats");
  cats.add_instances()->set_host("h1");
  hosts.note(cats);
  EXPECT_THAT(hosts.places_for("dogs", 0).others, ElementsAre(Pair("h1", 1)));
  EXPECT_THAT(hosts.places_for("cats", 0).others, IsEmpty());
  hosts.forget("cats");
  EXPECT_THAT(hosts.places_for("dogs", 0).others, IsEmpty());
}

}  // namespace
}  // namespace musher
