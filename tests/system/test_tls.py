"""A coordinator that other machines can reach: certificates, who is let in, and that no secret shows."""
import json
import os
import shutil
import unittest
from pathlib import Path

from musher_testing import LIMIT, MUSHER, MusherTest, free_port, make_images, make_job


def what_processes_show(pids):
    """The arguments and environments of processes, as everybody and their owner can read them."""
    shown = b""
    for pid in pids:
        for name in ("cmdline", "environ"):
            try:
                shown += Path(f"/proc/{pid}/{name}").read_bytes()
            except OSError:
                pass  # gone meanwhile
    return shown


class Tls(MusherTest):
    def setUp(self):
        super().setUp()
        self.certificates = self.folder / "certificates"
        self.musher("certs", self.certificates, code=0)
        self.tls = self.certificates / "client"

    def serve(self):
        port = free_port()
        return self.start_daemon("--tls", self.certificates, "--advertise", "127.0.0.1", address=f"127.0.0.1:{port}",
                                 listen=f"0.0.0.0:{port}")

    def secrets(self, job):
        """The private part of every key, and the attempt's token."""
        keys = [path.read_text().splitlines()[1] for path in self.certificates.glob("*/key.pem")]
        self.assertEqual(len(keys), 5)
        return keys + [(self.folder / "state" / "jobs" / job / "attempt-1" / "token").read_text().strip()]

    def test_a_job_over_tls_and_no_secret_of_it_shows(self):
        self.serve()
        make_images(self.folder / "images")
        job = make_job("secret", f"file://{self.folder}/images", f"file://{self.folder}/out", epochs=100_000)
        self.musher("submit", self.write_job(job), code=0)
        self.wait_until(lambda: "each once" in self.musher("status", "secret").stdout, LIMIT, "an epoch is over")
        shown = what_processes_show(self.children()).decode(errors="replace")
        self.assertIn("--token-file", shown, "the ranks' arguments are among what is searched")
        self.musher("stop", "secret", code=0)
        self.musher("watch", "secret", code=3)
        said = self.musher("status", "secret", "--json").stdout + self.musher("logs", "secret").stdout
        said += self.musher("list", "--json").stdout + (self.folder / "daemon.log").read_text()
        said += (self.folder / "state" / "jobs" / "secret" / "attempt-1" / "output").read_text(errors="replace")
        self.assertIn("secret", said)
        for secret in self.secrets("secret"):
            self.assertNotIn(secret, shown)
            self.assertNotIn(secret, said)

    def test_files_with_secrets_are_their_owners_alone(self):
        for path in self.certificates.rglob("*"):
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)
        os.chmod(self.certificates / "worker" / "key.pem", 0o640)
        done = self.musher("serve", "--state", self.folder / "state", "--tls", self.certificates, code=2)
        self.assertIn("worker/key.pem can be read by others", done.stderr)

    def test_who_has_no_right_certificate_is_refused_told_why_and_counted(self):
        self.serve()
        done = self.musher("list", "--tls", self.certificates / "worker", code=1)
        self.assertIn("it is for musher-client, and the certificate is musher-worker's", done.stderr)
        # The right authority's own certificate, so that the coordinator is trusted, and another's for oneself.
        self.musher("certs", self.folder / "others", code=0)
        mixed = self.folder / "mixed"
        shutil.copytree(self.folder / "others" / "client", mixed)
        shutil.copy(self.tls / "ca.pem", mixed / "ca.pem")
        self.assertIn("not to be trusted", self.musher("list", "--tls", mixed, code=1).stderr)
        queue = json.loads(self.musher("queue", "--json", code=0).stdout)
        self.assertEqual(queue["RefusedCalls"], {"with a certificate for something else": 1,
                                                 "with a certificate of another authority": 1})
        self.assertIn("1 calls with a certificate of another authority were refused", self.musher("queue", code=0).stdout)

    def test_a_client_does_not_talk_to_another_authoritys_coordinator(self):
        self.serve()
        self.musher("certs", self.folder / "others", code=0)
        done = self.musher("list", "--tls", self.folder / "others" / "client", code=4)
        self.assertIn("over TLS", done.stderr)

    def test_without_tls_no_address_but_loopback(self):
        done = self.musher("serve", "--state", self.folder / "state", "--listen", "0.0.0.0:0", code=2)
        self.assertIn("needs TLS", done.stderr)
        done = self.processes.run([MUSHER, "list", "--coordinator", "192.0.2.1:7077"], env=self.environment, timeout=30)
        self.assertEqual(done.returncode, 2)
        self.assertIn("needs TLS", done.stderr)

    def test_certificates_are_renewed_and_the_authority_stays(self):
        def read(role, name):
            return (self.certificates / role / name).read_text()
        before = {role: (read(role, "ca.pem"), read(role, "certificate.pem")) for role in ("coordinator", "worker", "client")}
        self.serve()
        self.musher("certs", self.certificates, code=0)
        for role, (authority, certificate) in before.items():
            self.assertEqual(read(role, "ca.pem"), authority)
            self.assertNotEqual(read(role, "certificate.pem"), certificate)
        self.musher("list", code=0)


if __name__ == "__main__":
    unittest.main()
