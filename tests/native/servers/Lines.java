import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;

/** A server of lines as a textbook has it: a `ServerSocket`, a thread for each client.  `java Lines PORT`. */
public class Lines {
    public static void main(String[] arguments) throws Exception {
        try (ServerSocket listener = new ServerSocket(Integer.parseInt(arguments[0]), 50, InetAddress.getByName("0.0.0.0"))) {
            while (true) {
                Socket client = listener.accept();
                new Thread(() -> serve(client)).start();
            }
        }
    }

    private static void serve(Socket client) {
        try (client) {
            InetSocketAddress peer = (InetSocketAddress) client.getRemoteSocketAddress();
            OutputStream out = client.getOutputStream();
            out.write(String.format("{\"pid\": %d, \"peer\": [\"%s\", %d]}\n", ProcessHandle.current().pid(),
                    peer.getAddress().getHostAddress(), peer.getPort()).getBytes());
            BufferedReader in = new BufferedReader(new InputStreamReader(client.getInputStream()));
            for (String line; (line = in.readLine()) != null;) {
                out.write((line + "\n").getBytes());
            }
        } catch (java.io.IOException gone) {
            return;
        }
    }
}
