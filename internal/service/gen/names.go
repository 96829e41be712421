package main

// names is laid over the registry: the first name of a line is shown, the others are
// understood, and so is the registry's own. It is kept short, since the registry's names
// are what other programs print.
const names = `
# The registry has several names for these ports, and the package kept a lesser one.
80    both http www
631   both ipp
3478  both stun turn
5349  both stuns turns

# Ranges of the registry that the package leaves out.
6000-6063 tcp x11
6665-6669 tcp ircu irc

# What people type for names that stay as they are.
43    both nicname whois
53    both domain dns
67    udp  bootps dhcp
68    udp  bootpc dhcpc
111   both sunrpc portmapper rpcbind
113   tcp  auth ident
135   both epmap msrpc
445   both microsoft-ds smb
465   tcp  submissions smtps
500   both isakmp ike
514   tcp  shell rsh
515   tcp  printer lpd
520   udp  router rip
548   tcp  afpovertcp afp
623   udp  asf-rmcp ipmi
853   both domain-s dot
1433  both ms-sql-s mssql sqlserver
3389  both ms-wbt-server rdp
4500  both ipsec-nat-t nat-t
5222  tcp  xmpp-client xmpp
5432  both postgresql postgres
5900  both rfb vnc
5985  both wsman winrm
6697  tcp  ircs-u ircs
8883  both secure-mqtt mqtts
9100  both pdl-datastream jetdirect
11211 both memcache memcached
27017 tcp  mongodb mongo

# The web's second ports, where the registry names products that nobody runs.
3000  tcp  http-alt
5000  tcp  http-alt
8000  both http-alt
8081  both http-alt
8443  both https-alt
8888  both http-alt
9443  both https-alt

# One product has the port in practice; the registry has none there, or one long gone.
902   tcp  vmware-auth
1521  tcp  oracle
1645  udp  radius
1646  udp  radius-acct
2082  tcp  cpanel
2083  tcp  cpanels
2181  tcp  zookeeper
3128  tcp  squid
4222  tcp  nats
5601  tcp  kibana
5938  both teamviewer
6443  tcp  kube-apiserver kubernetes
6881  both bittorrent
8006  tcp  proxmox
8086  tcp  influxdb
8123  tcp  home-assistant
8200  tcp  vault
8291  tcp  winbox
8500  tcp  consul
8728  tcp  mikrotik-api
8729  tcp  mikrotik-apis
9042  tcp  cassandra
9090  tcp  prometheus
9092  tcp  kafka
9200  tcp  elasticsearch
9300  tcp  elasticsearch-transport
10250 tcp  kubelet
15672 tcp  rabbitmq-management
19132 udp  minecraft
25565 tcp  minecraft
27015 both srcds
50051 tcp  grpc
51820 udp  wireguard
61616 tcp  activemq
62078 tcp  usbmuxd
64738 both mumble
`
