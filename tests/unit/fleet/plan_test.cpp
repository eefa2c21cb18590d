#include "fleet/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "fleet/hosts.h"
#include "fleet/user_data.h"

namespace musher {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

FleetSettings settings() {
  FleetSettings settings;
  settings.name = "dogs";
  settings.instances = 4;
  settings.type = "c7i.large";
  settings.max_hours = 2;
  settings.admit = {"10.0.1.7/32"};
  settings.instance_profile = "worker";
  settings.root = "/opt/it's here";
  settings.cache = "/opt/cache";
  settings.public_key = "ssh-ed25519 AAAA me";
  return settings;
}

std::string refusal(const FleetSettings& settings) {
  try {
    check_settings(settings);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(FleetPlan, WhatIsWrongIsNamed) {
  EXPECT_EQ(refusal(settings()), "");
  for (const char* everybody : {"0.0.0.0/0", "10.0.0.0/7", "::/0", "10.0.1.7", "sg-", ""}) {
    FleetSettings wrong = settings();
    wrong.admit = {everybody};
    EXPECT_THAT(refusal(wrong), HasSubstr("--admit must be")) << everybody;
  }
  FleetSettings wrong = settings();
  wrong.max_hours = 0;
  EXPECT_THAT(refusal(wrong), HasSubstr("--max-hours"));
  wrong = settings();
  wrong.instance_profile.clear();
  EXPECT_THAT(refusal(wrong), HasSubstr("give one of --role-policy"));
  for (const char* name :
       {"", "-a", "a-", "A", "a b", "a/b", "abcdefghijklmnopqrstuvwxyz0123456789"}) {
    EXPECT_THROW(check_fleet_name(name), Error) << name;
  }
}

TEST(FleetPlan, TimesAreReadAsTheyAreWritten) {
  const auto time = parse_time("2026-11-27T20:05:09Z");
  ASSERT_TRUE(time);
  EXPECT_EQ(time_text(*time), "2026-11-27T20:05:09Z");
  EXPECT_FALSE(parse_time("soon"));
  EXPECT_FALSE(parse_time(""));
}

TEST(FleetPlan, TheDigestChangesWithTheSettingsButNotWithNumberAndTime) {
  FleetSettings more = settings();
  more.instances = 5;
  more.max_hours = 9;
  EXPECT_EQ(plan_digest(more), plan_digest(settings()));
  more.spot = true;
  EXPECT_NE(plan_digest(more), plan_digest(settings()));
}

TEST(FleetPlan, OnlyTheFleetAndTheCallersComeIn) {
  FleetSettings two = settings();
  two.admit.emplace_back("sg-0f");
  const nlohmann::json rules = ingress_rules(two, "sg-1");
  const nlohmann::json expected = nlohmann::json::parse(R"([
    {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-1"}]},
    {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22,
     "IpRanges": [{"CidrIp": "10.0.1.7/32"}], "UserIdGroupPairs": [{"GroupId": "sg-0f"}]}])");
  EXPECT_EQ(rules, expected);
}

TEST(HostScript, PathsAreQuotedForTheShell) {
  FleetSurroundings around;
  around.region = "us-east-1";
  EXPECT_THAT(host_script(settings(), around), HasSubstr("root='/opt/it'\\''s here'\n"));
}

TEST(FleetPlan, WithEfaTheTemplateHasInterfacesAndTheHostTheirSoftware) {
  FleetSurroundings around;
  around.region = "us-east-1";
  around.subnet = "subnet-1";
  const auto template_of = [&] {
    return launch_template(settings(), around, "sg-1", FleetTime(std::chrono::hours(1)));
  };
  nlohmann::json made = template_of();
  EXPECT_EQ(made.at("SecurityGroupIds"), nlohmann::json({"sg-1"}));
  EXPECT_FALSE(made.contains("NetworkInterfaces"));
  EXPECT_THAT(host_script(settings(), around), Not(HasSubstr("efa_installer.sh")));
  around.efa_interfaces = 2;
  made = template_of();
  EXPECT_FALSE(made.contains("SecurityGroupIds")) << "EC2 takes one or the other";
  const nlohmann::json expected = nlohmann::json::parse(R"([
    {"NetworkCardIndex": 0, "DeviceIndex": 0, "InterfaceType": "efa", "SubnetId": "subnet-1",
     "Groups": ["sg-1"], "DeleteOnTermination": true},
    {"NetworkCardIndex": 1, "DeviceIndex": 1, "InterfaceType": "efa-only", "SubnetId": "subnet-1",
     "Groups": ["sg-1"], "DeleteOnTermination": true}])");
  EXPECT_EQ(made.at("NetworkInterfaces"), expected);
  EXPECT_THAT(host_script(settings(), around), HasSubstr("efa_installer.sh -y"));
}

TEST(FleetPlan, AVolumeIsNoSmallerThanTheImageAndHasRoomForWhatItFetches) {
  FleetSettings asked = settings();
  FleetSurroundings around;
  around.region = "us-east-1";
  around.root_device = "/dev/xvda";
  around.image_gib = 40;
  const auto size = [&] {
    const nlohmann::json made =
        launch_template(asked, around, "sg-1", FleetTime(std::chrono::hours(1)));
    const nlohmann::json& device = made.at("BlockDeviceMappings").at(0);
    EXPECT_EQ(device.at("DeviceName"), "/dev/xvda");
    EXPECT_EQ(device.at("Ebs").at("Encrypted"), true);
    EXPECT_EQ(device.at("Ebs").at("VolumeType"), "gp3");
    return device.at("Ebs").at("VolumeSize").get<int>();
  };
  asked.disk_gib = 500;
  EXPECT_EQ(size(), 500);
  asked.disk_gib = 8;
  EXPECT_EQ(size(), 40);
  asked.software = "s3://bucket/musher.tar.gz";
  EXPECT_EQ(size(), 52);
}

TEST(FleetPlan, AnInstanceTypeIsSageMakersOrEc2s) {
  EXPECT_EQ(ec2_type("ml.g5.xlarge"), "g5.xlarge");
  EXPECT_EQ(ec2_type("g5.xlarge"), "g5.xlarge");
  for (const char* none : {"", "local", "local_gpu", "ml.", "ml.g5"}) {
    EXPECT_EQ(ec2_type(none), "") << none;
  }
}

TEST(HostConsole, OnlyAKeyAndTheWordReadyMakeAHost) {
  EXPECT_FALSE(parse_console("").ready);
  EXPECT_FALSE(parse_console("musher-fleet: ready\n").ready);
  EXPECT_FALSE(parse_console("musher-fleet: key ssh-ed25519 AA+/=\n").ready);
  const HostConsole console = parse_console(
      "[ 1.0] boot\r\n[ 9.1] cloud-init: musher-fleet: key ssh-ed25519 AA+/=\r\nnoise\r\n"
      "musher-fleet: ready\r\n");
  EXPECT_TRUE(console.ready);
  EXPECT_EQ(console.key, "ssh-ed25519 AA+/=");
}

TEST(HostConsole, WhatCouldBreakAKnownHostsFileIsNoKey) {
  const HostConsole console =
      parse_console("musher-fleet: key ssh-ed25519 AA *\nmusher-fleet: ready\n");
  EXPECT_FALSE(console.ready);
}

TEST(HostConsole, AFailureIsTold) {
  EXPECT_EQ(parse_console("musher-fleet: failed: line 9: apt-get\r\n").failure, "line 9: apt-get");
}

TEST(KnownHosts, HaveThoseThatAreReady) {
  FleetInstance one;
  one.id = "i-1";
  one.address = "10.0.0.1";
  FleetInstance two = one;
  two.id = "i-2";
  EXPECT_EQ(known_hosts_text({{one, "ssh-ed25519 AA", ""}, {two, "", ""}}),
            "10.0.0.1 ssh-ed25519 AA i-1\n");
}

}  // namespace
}  // namespace musher
