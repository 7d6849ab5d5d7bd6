# shellcheck shell=sh
# Fits the root out for systemd, which starts next: packages were unpacked, but their scripts not run. Sourced by init.

cat >/etc/passwd <<'END'
root:x:0:0:root:/root:/bin/sh
messagebus:x:100:100::/nonexistent:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
alice:x:1000:1000::/home/alice:/bin/sh
END
cat >/etc/group <<'END'
root:x:0:
tty:x:5:
messagebus:x:100:
systemd-journal:x:101:
nogroup:x:65534:
alice:x:1000:
END
sed 's/:.*/:*:19000:0:99999:7:::/' /etc/passwd >/etc/shadow
mkdir -p /home/alice
chown 1000:1000 /home/alice
echo 'hosts: files' >/etc/nsswitch.conf
echo 0123456789abcdef0123456789abcdef >/etc/machine-id

# PAM as Debian has it with libpam-systemd, but without passwords.
for kind in auth account password; do echo "$kind required pam_permit.so" >/etc/pam.d/common-$kind; done
echo 'session required pam_unix.so' >/etc/pam.d/common-session-noninteractive
printf 'session required pam_unix.so\nsession optional pam_systemd.so\n' >/etc/pam.d/common-session

# The console is the checks' own, and a guest has no hardware to wait for.
mkdir -p /etc/systemd/system-generators /etc/systemd/system/multi-user.target.wants
ln -sf /dev/null /etc/systemd/system-generators/systemd-getty-generator
for unit in systemd-udevd systemd-udev-trigger systemd-hwdb-update systemd-timesyncd systemd-pcrphase \
    systemd-pcrphase-sysinit systemd-tmpfiles-setup-dev ldconfig systemd-journal-catalog-update \
    systemd-update-done getty@tty1; do
    ln -sf /dev/null "/etc/systemd/system/$unit.service"
done
ln -sf /usr/lib/systemd/system/multi-user.target /etc/systemd/system/default.target
cat >/etc/systemd/system/checks.service <<'END'
[Unit]
After=dbus.socket systemd-logind.service systemd-user-sessions.service
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/tests/systemd.sh
END
echo "Environment=ONLY=$ONLY" >>/etc/systemd/system/checks.service
ln -sf ../checks.service /etc/systemd/system/multi-user.target.wants/
