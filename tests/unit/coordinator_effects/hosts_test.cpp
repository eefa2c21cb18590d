// What other hosts are asked for and told, without other hosts.

#include "coordinator/hosts.h"

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "common/error.h"
#include "coordinator/build_id.h"
#include "coordinator/host_agent.h"
#include "coordinator/host_check.h"
#include "coordinator/host_probe.h"
#include "coordinator/temporary_folder.h"
#include "launch/command.h"
#include "launch/mpirun.h"
#include "rpc/tls.h"

namespace musher {
namespace {

using nlohmann::json;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

Deadline soon() {
  return Deadline::after(std::chrono::seconds(30));
}

TEST(Network, IsTheOneByWhichEachHostIsReached) {
  const std::vector<HostNetwork> hosts = {
      {"h1", {{"docker0", "172.17.0.1", 16}, {"eth0", "10.0.0.1", 24}}, "10.0.0.1"},
      {"h2", {{"docker0", "172.17.0.1", 16}, {"ens5", "10.0.1.9", 20}}, "10.0.1.9"}};
  const NetworkChoice choice = choose_network(hosts, std::nullopt);
  EXPECT_THAT(choice.networks, ElementsAre("10.0.0.0/20", "10.0.0.0/24"));
  EXPECT_THAT(choice.interfaces, ElementsAre("ens5", "eth0"));
}

TEST(Network, MayBeNamedAndAHostWithoutItIsToo) {
  std::vector<HostNetwork> hosts = {
      {"h1", {{"eth0", "10.0.0.1", 24}, {"fast0", "192.168.5.1", 24}}, "10.0.0.1"}};
  const auto fast = parse_network("192.168.0.0/16");
  ASSERT_TRUE(fast);
  EXPECT_THAT(choose_network(hosts, fast).interfaces, ElementsAre("fast0"));
  hosts.push_back({"h2", {{"eth0", "10.0.0.2", 24}}, "10.0.0.2"});
  try {
    choose_network(hosts, fast);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("host h2 has no interface in the network 192.168.0.0/16"));
  }
  hosts = {{"h3", {{"eth0", "10.0.0.2", 24}}, "54.1.2.3"}};
  EXPECT_THROW(choose_network(hosts, std::nullopt), Error);
}

TEST(Network, IsReadAsCidr) {
  EXPECT_EQ(network_of(*parse_network("10.1.2.3/8")), "10.0.0.0/8");
  EXPECT_EQ(network_of({"eth0", "10.1.2.3", 32}), "10.1.2.3/32");
  EXPECT_TRUE(contains(*parse_network("0.0.0.0/0"), "9.9.9.9"));
  for (const char* wrong :
       {"", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/8x"}) {
    EXPECT_FALSE(parse_network(wrong)) << wrong;
  }
}

TEST(Ssh, ChecksHostKeysAndNeverAsks) {
  SshOptions options;
  options.user = "ec2-user";
  options.key = "/keys/one";
  options.known_hosts = "/keys/known";
  const auto words = ssh_words(options);
  for (const char* word : {"BatchMode=yes", "StrictHostKeyChecking=yes",
                           "UserKnownHostsFile=/keys/known", "/keys/one", "ec2-user"}) {
    EXPECT_THAT(words, Contains(word));
  }
  EXPECT_THAT(ssh_agent(options), HasSubstr("-i /keys/one -l ec2-user"));
  options.key = "/my keys/one";
  EXPECT_THROW(ssh_agent(options), Error) << "mpirun would take it apart";
}

TEST(RunCommand, FeedsReadsAndTellsHowItEnded) {
  const auto result = run_command({"/bin/sh", "-c", "cat; echo trouble >&2; exit 3"},
                                  std::string(300'000, 'x'), soon());
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.out.size(), 300'000);
  EXPECT_EQ(result.err, "trouble\n");
  EXPECT_FALSE(result.timed_out);
}

TEST(RunCommand, EndsWhatDoesNotEndAndNeedsNoReader) {
  const auto result = run_command({"/bin/sh", "-c", "exec sleep 1000"}, std::string(300'000, 'x'),
                                  Deadline::after(std::chrono::milliseconds(200)));
  EXPECT_TRUE(result.timed_out);
  EXPECT_EQ(result.exit_code, 128 + SIGKILL);
  EXPECT_EQ(run_command({"/bin/true"}, std::string(300'000, 'x'), soon()).exit_code, 0);
  EXPECT_THROW(run_command({"/no/such/program"}, "", soon()), Error);
}

class HostAgent : public testing::Test {
 protected:
  mode_t mode_of(const std::filesystem::path& path) {
    struct stat status {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return status.st_mode & 0777;
  }

  TemporaryFolder scratch_{"musher-test"};
  std::filesystem::path folder_ = scratch_.path() / "staged";
};

TEST_F(HostAgent, StagesFilesForTheOwnerAloneAndMayDoSoAgain) {
  const json request = {{"do", "stage"}, {"folder", folder_}, {"files", {{"token", "secret\n"}}}};
  json reply;
  for (int again = 0; again < 2; ++again) {
    reply = serve_host_request(request, "10.0.0.9 4000 10.0.0.1 22");
  }
  EXPECT_EQ(read_private_line(folder_ / "token", "token"), "secret");
  EXPECT_EQ(mode_of(folder_), 0700);
  EXPECT_EQ(mode_of(folder_ / "token"), 0600);
  EXPECT_EQ(reply.at("reached_at"), "10.0.0.1");
  EXPECT_EQ(reply.at("reached_from"), "10.0.0.9");
  EXPECT_GE(reply.at("cores").get<int>(), 1);
  serve_host_request({{"do", "end"}, {"folder", folder_}}, "");
  EXPECT_FALSE(std::filesystem::exists(folder_));
}

TEST_F(HostAgent, StagesNothingBehindALinkOrOutsideItsFolder) {
  std::filesystem::create_directory(scratch_.path() / "elsewhere");
  std::filesystem::create_directory_symlink(scratch_.path() / "elsewhere", folder_);
  const json through_link = {{"do", "stage"}, {"folder", folder_}, {"files", {{"token", "s"}}}};
  EXPECT_THROW(serve_host_request(through_link, ""), Error);
  std::filesystem::remove(folder_);
  const json outside = {{"do", "stage"}, {"folder", folder_}, {"files", {{"../token", "s"}}}};
  EXPECT_THROW(serve_host_request(outside, ""), Error);
  EXPECT_FALSE(std::filesystem::exists(scratch_.path() / "token"));
}

TEST_F(HostAgent, RefusesWhatItDoesNotKnow) {
  EXPECT_THROW(serve_host_request({{"do", "format"}}, ""), Error);
  EXPECT_THROW(serve_host_request({{"folder", 1}}, ""), Error);
  EXPECT_THROW(serve_host_request(json::array(), ""), Error);
}

TEST_F(HostAgent, IsAskedHereWithoutSshAndWhatFailsIsSaid) {
  HostAccess access;
  access.ssh.program = "/bin/false";
  const json request = {{"do", "stage"}, {"folder", folder_}, {"files", json::object()}};
  const auto answers = ask_hosts(access, {"localhost", "h1.invalid"}, request, soon());
  ASSERT_EQ(answers.size(), 2);
  EXPECT_TRUE(answers[0].ok()) << answers[0].error;
  EXPECT_EQ(answers[1].error, "ssh ended with exit code 1");
}

HostAnswer fit_host() {
  HostAnswer answer{"h1", {}, ""};
  answer.reply = {{"version", "0.1.0"},
                  {"build", "b1"},
                  {"libraries", "venv-1"},
                  {"time_ms", 10'500},
                  {"memory_bytes", 8 << 20},
                  {"disk_bytes", 9 << 20},
                  {"gpus", 0},
                  {"driver", ""},
                  {"efa", 0},
                  {"efa_plugin", false}};
  return answer;
}

Expectations expectations() {
  Expectations expected;
  expected.build = "b1";
  expected.libraries = "venv-1";
  expected.memory_bytes = 8 << 20;
  expected.disk_bytes = 8 << 20;
  expected.sent_ms = 10'000;
  expected.received_ms = 11'000;
  return expected;
}

TEST(HostCheck, AFitHostHasNoProblemsAndEachProblemIsNamed) {
  EXPECT_THAT(problems_of(fit_host(), expectations()), testing::IsEmpty());
  const std::vector<std::tuple<std::string, json, std::string>> cases = {
      {"build", "b2", "its build of Musher (0.1.0) is another than here"},
      {"libraries", "venv-0", "its libraries are venv-0, not venv-1: run launch/setup there"},
      {"memory_bytes", 1 << 20, "0.0 GiB of memory are free, less than 0.0"},
      {"disk_bytes", 1 << 20, "0.0 GiB of disk are free, less than 0.0"},
      {"time_ms", 7'900, "its clock is 2.1 s behind"},
      {"time_ms", 14'000, "its clock is 3.0 s ahead"},
      {"unreached", {"h2: No route to host"}, "it does not reach h2: No route to host"},
  };
  for (const auto& [field, value, problem] : cases) {
    HostAnswer answer = fit_host();
    answer.reply[field] = value;
    EXPECT_THAT(problems_of(answer, expectations()), ElementsAre(problem));
  }
  HostAnswer slow = fit_host();
  slow.reply["time_ms"] = 12'900;
  EXPECT_THAT(problems_of(slow, expectations()), testing::IsEmpty()) << "it may be right";
  EXPECT_THAT(problems_of({"h2", {}, "No route to host"}, expectations()),
              ElementsAre("No route to host"));
}

TEST(HostCheck, GpusNeedADriverThatIsNewEnoughAndEfaItsPlugin) {
  HostAnswer answer = fit_host();
  answer.reply["gpus"] = 8;
  for (const auto& [driver, fit] : std::map<std::string, bool>{
           {"580.65.06", true}, {"595.1", true}, {"570.172.08", false}, {"", false}}) {
    answer.reply["driver"] = driver;
    EXPECT_EQ(problems_of(answer, expectations()).empty(), fit) << driver;
  }
  answer.reply["driver"] = "580.65.06";
  answer.reply["efa"] = 4;
  EXPECT_THAT(problems_of(answer, expectations()), ElementsAre(HasSubstr("aws-ofi-nccl")));
  EXPECT_EQ(efa_text(answer), "4, no plugin");
  answer.reply["efa_plugin"] = true;
  EXPECT_THAT(problems_of(answer, expectations()), testing::IsEmpty());
}

TEST_F(HostAgent, ProbesThisMachine) {
  const auto program = scratch_.path() / "program";
  std::ofstream(program) << "one";
  const json request = {{"do", "probe"},
                        {"programs", {program.string()}},
                        {"prefix", scratch_.path()},
                        {"disk", scratch_.path()},
                        {"reach", json::array({json::array({"127.0.0.1", 1})})}};
  const json reply = serve_host_request(request, "");
  EXPECT_GT(reply.at("memory_bytes").get<std::uint64_t>(), 0);
  EXPECT_GT(reply.at("disk_bytes").get<std::uint64_t>(), 0);
  EXPECT_THAT(reply.at("unreached").dump(), HasSubstr("127.0.0.1:1: Connection refused"));
  EXPECT_EQ(reply.at("build"), build_of({program}));
  std::ofstream(program) << "two";
  EXPECT_NE(reply.at("build"), build_of({program}));
}

TEST(BuildId, IsThatOfTheProgramAndEmptyForWhatHasNone) {
  const TemporaryFolder scratch("musher-test");
  const std::string id = build_id("/proc/self/exe");
  EXPECT_THAT(id, testing::MatchesRegex("[0-9a-f]{40}"));
  EXPECT_EQ(build_id(scratch.path() / "missing"), "");
  std::ofstream(scratch.path() / "script") << "#!/bin/sh\n";
  EXPECT_EQ(build_id(scratch.path() / "script"), "");
  // One that is cut off within its head, and one within its notes' table.
  for (const std::size_t size : {40, 100}) {
    std::ifstream program("/proc/self/exe", std::ios::binary);
    std::string head(size, '\0');
    program.read(head.data(), static_cast<std::streamsize>(size));
    std::ofstream(scratch.path() / "cut", std::ios::binary) << head;
    EXPECT_EQ(build_id(scratch.path() / "cut"), "");
  }
}

TEST(MeetPeers, ReachesWhoListensAndNamesWhoDoesNot) {
  const auto deadline = Deadline::after(std::chrono::milliseconds(300));
  for (int port = 20'011;; ++port) {
    try {
      EXPECT_THAT(meet_peers({"127.0.0.1"}, port, deadline), testing::IsEmpty()) << "itself";
      EXPECT_THAT(meet_peers({"127.0.0.1", "no.such.host.invalid"}, port, deadline),
                  ElementsAre(testing::Key("no.such.host.invalid")));
      return;
    } catch (const Error&) {
      ASSERT_LT(port, 20'100) << "no free port";
    }
  }
}

TEST(Hostfile, IsReadAndItsMistakesAreNamed) {
  const TemporaryFolder folder("musher-test");
  const auto file = folder.path() / "hosts";
  const auto error_of = [&](const std::string& text) -> std::string {
    std::ofstream(file) << text;
    try {
      read_hostfile(file);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(error_of("h1 slots=2\nh1\n"), HasSubstr("names h1 twice"));
  EXPECT_THAT(error_of("# none\n"), HasSubstr("names no host"));
  EXPECT_THAT(error_of("-oProxyCommand=x\n"), HasSubstr("is no host's name"));
  EXPECT_EQ(error_of("h1 slots=2\nh2\n"), "");
  EXPECT_THAT(read_hostfile(file), ElementsAre(HostSlots{"h1", 2}, HostSlots{"h2", 1}));
  EXPECT_TRUE(any_remote(read_hostfile(file)));
  EXPECT_THROW(read_hostfile(folder.path()), Error);
  EXPECT_THROW(read_hostfile(folder.path() / "nothing"), Error);
}

TEST(Mpirun, OfOtherHostsIsToldHowToReachThemAndOverWhatTheyTalk) {
  MpirunOptions options;
  options.mpirun = "/venv/bin/mpirun";
  options.prefix = "/venv";
  options.ssh = "/usr/bin/ssh -o BatchMode=yes";
  options.networks = {"10.0.0.0/24", "10.0.1.0/24"};
  options.exported = {{"NCCL_SOCKET_IFNAME", "=eth0"}};
  const auto argv = mpirun_argv(options);
  EXPECT_THAT(argv, testing::IsSupersetOf({"--prefix", "/venv", "plm_ssh_agent",
                                           "/usr/bin/ssh -o BatchMode=yes", "btl_tcp_if_include",
                                           "10.0.0.0/24,10.0.1.0/24", "NCCL_SOCKET_IFNAME"}));
  options.prefix.clear();
  EXPECT_THAT(mpirun_argv(options), testing::Not(Contains("plm_ssh_agent")));
}

}  // namespace
}  // namespace musher
