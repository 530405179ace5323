# Runs in the root of the node, once: turns a Debian with systemd into one that boots in a container.
set -eu
# Units that wait for, or change, what a container does not have.
rm -f /lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service \
  /lib/systemd/system/multi-user.target.wants/* /etc/systemd/system/*.wants/* /lib/systemd/system/local-fs.target.wants/* \
  /lib/systemd/system/sockets.target.wants/*udev* /lib/systemd/system/sockets.target.wants/*initctl* \
  /lib/systemd/system/basic.target.wants/*
echo ReadKMsg=no >>/etc/systemd/journald.conf # the kernel's messages are the machine's, not the node's
systemctl enable kubelet.service containerd.service undo-mount-hacks.service calico.path
systemctl mask systemd-binfmt.service # it would change the machine's kernel
: >/etc/machine-id
